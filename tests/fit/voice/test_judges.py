"""Judges: what they hear of a recording, that they learn, and how alike two voices are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from stages.fit.core.voice.judges import Judge, Listener, at_level, similarities
from stages.fit.core.voice.spectrum import LEVEL, Spectrum
from tests.fit.voice.making import PITCH, SAID, voice
from tests.oracles import voice as slow

SPECTRUM = Spectrum.of(8000, 24)


def recordings(seed: int) -> tuple[torch.Tensor, torch.Tensor, list[str], list[str]]:
    rng = np.random.default_rng(seed)
    waves, samples, speakers, words = [], [], [], []
    for speaker in PITCH:
        for said in SAID:
            for i in range(6):
                length = int(rng.integers(1600, 2400))
                wave = voice(speaker, said, 1000 * seed + i, length)
                waves.append(np.pad(wave, (0, 2400 - length)))
                samples.append(length)
                speakers.append(speaker)
                words.append(said)
    return torch.from_numpy(np.stack(waves)).float(), torch.tensor(samples), speakers, words


def test_they_tell_words_and_voices_of_new_recordings() -> None:
    wave, samples, speakers, words = recordings(1)
    new = recordings(2)
    for values, told in ((words, new[3]), (speakers, new[2])):
        names = sorted(set(values))
        labels = torch.tensor([names.index(v) for v in values])
        judge = Judge.taught(wave, samples, labels, len(names), SPECTRUM, epochs=40)
        found = judge(new[0], new[1])[1].argmax(1).tolist()
        assert np.mean([names[f] == t for f, t in zip(found, told, strict=True)]) > 0.9


def test_what_follows_a_recording_and_how_loud_it_is_are_not_heard() -> None:
    wave, samples, _, words = recordings(1)
    judge = Judge.taught(wave, samples, torch.tensor([len(w) % 2 for w in words]), 2, SPECTRUM, epochs=1)
    beyond = torch.arange(wave.shape[1]) >= samples.unsqueeze(1)
    once = judge(wave, samples)
    noisy = judge(3 * torch.where(beyond, torch.ones_like(wave), wave), samples)
    longer = judge(torch.nn.functional.pad(wave, (0, 800)), samples)
    for other in (noisy, longer):
        torch.testing.assert_close(once[0], other[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(once[0].norm(dim=1), torch.ones(len(wave)))
    aside = replace(judge, centre=torch.zeros_like(judge.centre))(wave, samples)[0]  # not centred: all point one way
    assert (once[0] @ once[0].T).mean() < 0.2 < (aside @ aside.T).mean()
    again = Judge.taught(wave, samples, torch.tensor([len(w) % 2 for w in words]), 2, SPECTRUM, epochs=1)
    assert torch.equal(once[1], again(wave, samples)[1])


def test_a_listener_pools_own_frames_alone() -> None:
    net = Listener(4, 3)
    x = torch.randn(2, 4, 12)
    frames = torch.tensor([12, 7])
    x[1, :, 7:] = 0
    alone = net(x[1:, :, :7], torch.tensor([7]))
    torch.testing.assert_close(net(x, frames)[0][1:], alone[0])


def test_levels_are_equal_over_own_samples() -> None:
    wave, samples, _, _ = recordings(3)
    levelled = at_level(17 * wave, samples)
    power = [float(w[:n].square().mean()) ** 0.5 for w, n in zip(levelled, samples.tolist(), strict=True)]
    np.testing.assert_allclose(power, LEVEL, rtol=1e-4)
    assert at_level(torch.zeros(1, 9), torch.tensor([9])).abs().max() == 0


def test_similarity_is_the_mean_cosine_and_leaves_a_recording_itself_out() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(7, 5)), rng.normal(size=(6, 5))
    unit = [torch.nn.functional.normalize(torch.from_numpy(r), dim=1) for r in raw]
    expected = [slow.similarity(e, raw[1]) for e in raw[0]]
    np.testing.assert_allclose(similarities(unit[0], unit[1]).numpy(), expected, atol=1e-12)
    without = [slow.similarity(e, raw[1], leave=i) for i, e in enumerate(raw[1])]
    np.testing.assert_allclose(similarities(unit[1], unit[1], torch.arange(6)).numpy(), without, atol=1e-12)
    assert float(similarities(unit[0][:1], unit[0][:1].expand(3, -1))) == 1.0
