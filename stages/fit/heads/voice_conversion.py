"""Voice conversion by nearest neighbours: frames of a source replaced by a target's, made audible, and judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.common.tasks import Exhibit
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.voice import exhibits
from stages.fit.core.voice.gan_vocoder import GanPlan, GanVocoder
from stages.fit.core.voice.judges import Judge, similarities
from stages.fit.core.voice.matching import matched, prematched
from stages.fit.core.voice.mel_decoder import MelDecoder, stride
from stages.fit.core.voice.spectrum import Spectrum
from stages.fit.core.voice.utterances import Utterances, ranks, reference_frames, utterances
from stages.metrics.eer import equal_error_rate

HIGHER_IS_BETTER = {
    "word_error_rate": False,
    "speaker_similarity": True,
    "speaker_accuracy": True,
    "conversion_eer": True,  # 0.5: what is converted passes for the target
}
_WHERE = "head voice_conversion"


@dataclass(frozen=True)
class _Pairs:
    """Q sounds to be judged: the source (Q,) of each by its place, the voice it is to have (Q,), wave (Q, T), samples (Q,)."""

    source: np.ndarray
    target: np.ndarray
    wave: Tensor
    samples: Tensor


@dataclass
class _Judges:
    """What is said (`words`) and who speaks (`voices`); how many of the real sources each gets wrong."""

    contents: list[str]
    speakers: list[str]
    words: Judge
    voices: Judge
    details: dict[str, float] = field(default_factory=dict)


@part
class VoiceConversion:
    """kNN-VC (Baas, van Niekerk and Kamper 2023, "Voice conversion with just nearest neighbors", sec. 3) on frame rows, each
    recording of the test split in the voice of every other speaker of it.

    conversion: every frame of a source becomes the mean of its `k` nearest frames, by cosine, among `seconds` of the target's
    speech (drawn by seed; fewer seconds lie among more), and a vocoder makes a waveform of them. resynthesis: the source's own
    frames through the vocoder; source, target: real recordings, of the source, or of the target in place of a conversion.

    vocoder: `mel`, ridge regression to log-mel bands and Griffin-Lim; `gan`, HiFi-GAN's generator trained as `gan` says.
    training: on frames of the train split as they are (`plain`), or each matched among the other recordings of its speaker
    (`prematched`, sec. 3.3).

    Judges, two small networks, are taught on real speech alone, the share `taught` of the recordings of every speaker and
    content. The others of the train split teach the vocoder; of those of the test split `sources` of each are converted and
    enrolled, the rest are references. A hash of the id draws these parts. Figures over all (source, target): word_error_rate,
    sounds whose content is heard as another (one word each); speaker_similarity, mean cosine of the voice judge's embeddings of
    a sound and of the target's sources, itself left out; speaker_accuracy, sounds taken for the target; conversion_eer, mean
    over targets of the equal error rate at which the target's own recordings are to be accepted and the sounds refused (0.5:
    they pass). Table `conversions`: each sound. `shown`: so many sources are exhibits.

    speaker, content: columns of the corpus. The task's `support:` names the encoder; its front end says how much of a recording
    is read.
    Raises UserError for arguments out of range, fewer than two test speakers, or too few recordings.
    """

    label = None

    def __init__(
        self,
        *,
        speaker: str = "speaker",
        content: str = "digit",
        what: Literal["conversion", "resynthesis", "source", "target"] = "conversion",
        vocoder: Literal["mel", "gan"] = "gan",
        training: Literal["prematched", "plain"] = "prematched",
        k: int = 4,
        seconds: float = 60.0,
        sources: int = 5,
        taught: float = 0.5,
        bands: int = 40,
        reach: int = 1,
        l2: float = 1e-3,
        iterations: int = 60,
        gan: GanPlan | None = None,
        epochs: int = 20,
        shown: int = 0,
    ) -> None:
        if k < 1 or seconds <= 0 or sources < 2 or not 0 < taught < 1 or min(reach, iterations, shown) < 0:
            raise UserError(
                "k is 1 or more, sources 2 or more, seconds above 0, taught a part of 1, reach, iterations, shown not below 0",
                where=_WHERE,
            )
        if l2 <= 0 or epochs < 1:
            raise UserError("l2 lies above 0, epochs is 1 or more", where=_WHERE)
        self.speaker, self.content, self.what, self.vocoder, self.training = speaker, content, what, vocoder, training
        self.k, self.seconds, self.sources, self.taught = k, seconds, sources, taught
        self.bands, self.reach, self.l2, self.iterations = bands, reach, l2, iterations
        self.gan, self.epochs, self.shown = gan or GanPlan(), epochs, shown
        self._judges: _Judges | None = None

    def fit(self, problem: Problem) -> Outcome:
        material = problem.input
        contract = material.encoder().frontend.contract
        teaching, test = (
            utterances(problem.split(split), material, contract, self.speaker, self.content) for split in ("train", "test")
        )
        spectrum = Spectrum.of(int(contract["rate"]), self.bands)
        rank, count = ranks(test)
        kept = count - self._lessons(count)
        if (kept <= self.sources).any():
            raise UserError(
                f"a test speaker has {int(count.min())} recordings of a content: too few for {self.sources} sources, "
                "references and judges",
                where=_WHERE,
                do="lower `sources` or `taught`",
            )
        chosen = np.flatnonzero(rank < self.sources)
        pool = np.flatnonzero((rank >= self.sources) & (rank < kept))
        voices = sorted(set(test.speaker.tolist()))
        if len(voices) < 2:
            raise UserError(f"the test split has {len(voices)} speaker", where=_WHERE, do="split off two speakers or more")
        if self._judges is None:  # the same for all seeds, which differ in their encoder and references
            self._judges = self._taught(teaching, test, spectrum)
        own, of = ranks(teaching)
        spoken = teaching.at(np.flatnonzero(own < of - self._lessons(of)))
        sources, details = test.at(chosen), dict(self._judges.details)
        references = {v: test.at(pool[test.speaker[pool] == v]) for v in voices}
        pairs = self._made(spoken, sources, references, spectrum, problem.seed, details)
        outcome = self._judged(pairs, sources, self._judges, details)
        outcome.exhibits.extend(self._exhibits(pairs, sources, spectrum))
        return outcome

    def _lessons(self, count: np.ndarray) -> np.ndarray:
        """How many of `count` recordings of a speaker and content teach the judges: the last by rank."""
        return np.floor(self.taught * count + 1e-9).astype(np.int64)

    def _taught(self, teaching: Utterances, test: Utterances, spectrum: Spectrum) -> _Judges:
        lessons = []
        for split in (teaching, test):
            rank, count = ranks(split)
            lessons.append(split.at(np.flatnonzero(rank >= count - self._lessons(count))))
        wave, samples = (torch.cat([getattr(each, name) for each in lessons]) for name in ("wave", "samples"))
        found = []
        for name in ("content", "speaker"):
            values = np.concatenate([getattr(each, name) for each in lessons])
            names, labels = np.unique(values, return_inverse=True)
            target = torch.from_numpy(labels).to(wave.device)
            judge = Judge.taught(wave, samples, target, len(names), spectrum, epochs=self.epochs)
            found.append(([str(n) for n in names], judge))
        (heard, words), (known, voices) = found
        missing = set(test.speaker) - set(known) | set(test.content) - set(heard)
        if missing:
            raise UserError(f"no recording teaches the judges: {', '.join(sorted(missing))}", where=_WHERE, do="raise `taught`")
        return _Judges(heard, known, words, voices, {"judges_taught_on": float(len(wave))})

    def _made(
        self,
        spoken: Utterances,
        sources: Utterances,
        references: dict[str, Utterances],
        spectrum: Spectrum,
        seed: int,
        details: dict[str, float],
    ) -> _Pairs:
        """Every source for every other speaker; of `target`, every source as itself."""
        if self.what == "target":
            return _Pairs(np.arange(len(sources)), sources.speaker, sources.wave, sources.samples)
        pairs = [(i, v) for v in references for i in range(len(sources)) if sources.speaker[i] != v]
        source, target = np.array([i for i, _ in pairs]), np.array([v for _, v in pairs])
        given = sources.at(source)
        if self.what == "source":
            return _Pairs(source, target, given.wave, given.samples)
        x = given.x
        if self.what == "conversion":
            rows = round(self.seconds * spectrum.rate / (spectrum.hop * stride(sources.samples, sources.counts, spectrum)))
            own = np.repeat(target, given.counts.cpu().numpy())
            x = torch.empty_like(given.x)
            for voice, pool in references.items():
                mask = torch.from_numpy(own == voice).to(x.device)
                x[mask] = matched(given.x[mask], reference_frames(pool, rows, seed), k=self.k)
        wave = self._vocoder(spoken, spectrum, seed, details)(x, given.counts)
        return _Pairs(source, target, wave, given.samples.clamp_max(wave.shape[1]))

    def _vocoder(self, spoken: Utterances, spectrum: Spectrum, seed: int, details: dict[str, float]) -> MelDecoder | GanVocoder:
        given = spoken.x
        if self.training == "prematched":
            names = sorted(set(spoken.speaker))
            given = prematched(given, spoken.item, spoken.speakers(names)[spoken.item], k=self.k)
        if self.vocoder == "gan":
            made = GanVocoder.of(given, spoken, spectrum, self.gan, seed)
            details["mel_distance_first"], details["mel_distance_last"] = made.history
            return made
        return MelDecoder.of(given, spoken, spectrum, reach=self.reach, l2=self.l2, iterations=self.iterations)

    def _judged(self, pairs: _Pairs, sources: Utterances, judges: _Judges, details: dict[str, float]) -> Outcome:
        said = np.array([judges.contents.index(c) for c in sources.content])
        real, logits = judges.voices(sources.wave, sources.samples)
        spoken = sources.speakers(judges.speakers)
        details["real_word_error_rate"] = _share(judges.words(sources.wave, sources.samples)[1].argmax(1).cpu().numpy() != said)
        details["real_speaker_error_rate"] = _share((logits.argmax(1) != spoken).cpu().numpy())
        heard = judges.words(pairs.wave, pairs.samples)[1].argmax(1).cpu().numpy()
        embedding, logits = judges.voices(pairs.wave, pairs.samples)
        taken = np.array(judges.speakers)[logits.argmax(1).cpu().numpy()]
        near, rates = np.empty(len(pairs.source)), []
        for voice in sorted(set(pairs.target)):
            own = np.flatnonzero(sources.speaker == voice)
            enrolled = real[torch.from_numpy(own)]
            among = torch.arange(len(own), device=real.device)
            mine = pairs.target == voice
            theirs = among if self.what == "target" else None
            near[mine] = similarities(embedding[torch.from_numpy(mine)], enrolled, theirs).cpu().numpy()
            rates.append(equal_error_rate(similarities(enrolled, enrolled, among).cpu().numpy(), near[mine]))
        table = {
            "source": [str(i) for i in sources.ids[pairs.source]],
            "speaker": [str(s) for s in sources.speaker[pairs.source]],
            "target": [str(t) for t in pairs.target],
            "said": [str(c) for c in sources.content[pairs.source]],
            "heard": [judges.contents[h] for h in heard],
            "taken_for": [str(t) for t in taken],
            "similarity": near,
        }
        values = {
            "word_error_rate": _share(heard != said[pairs.source]),
            "speaker_similarity": float(near.mean()),
            "speaker_accuracy": _share(taken == pairs.target),
            "conversion_eer": float(np.mean(rates)),
        }
        return Outcome(values=values, items=len(pairs.source), details={**details}, tables={"conversions": table})

    def _exhibits(self, pairs: _Pairs, sources: Utterances, spectrum: Spectrum) -> list[Exhibit]:
        """Of the first sources of different speakers in turn: the source, and what was made of it for each target."""
        found: list[Exhibit] = []
        by_rank = sorted(range(len(sources)), key=lambda i: (int(np.sum(sources.speaker[:i] == sources.speaker[i])), i))
        for number, i in enumerate(by_rank[: self.shown]):
            row = f"{sources.content[i]}, {sources.speaker[i]}"
            wave = sources.wave[i, : int(sources.samples[i])]
            found += exhibits.of(f"source{number}", wave, spectrum, row, "source", f"{sources.speaker[i]}, recorded")
            for q in np.flatnonzero(pairs.source == i):
                made = pairs.wave[q, : int(pairs.samples[q])]
                voice = str(pairs.target[q])
                found += exhibits.of(f"made{number}_{voice}", made, spectrum, row, f"as {voice}", f"{self.what}, for {voice}")
        return found


def _share(values: np.ndarray) -> float:
    return float(np.mean(values))
