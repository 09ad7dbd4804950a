"""Measures of representations, mostly label-free. Shared by pretrain (online) and fit.

A measure is a function of tensors, with the module's constants TAKES (rows: x (N, D); views: x (N, V, D), V views of each item;
pair: x (N, D1) and y (N, D2) of the same items) and HIGHER_IS_BETTER (None where neither way is). A value that is not defined
for the given rows is not a number.
"""
