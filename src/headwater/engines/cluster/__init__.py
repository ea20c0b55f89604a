"""The engine of many GPUs: learner, reference and teachers sharded over ranks, generators beside them.

A *rank* is one process with one GPU: a shard of the learner and of each frozen model (FSDP2), and the same update as
in one process (`engines.local`), of which it makes its share. The walk of one batch:

    share.deal        whole prompts to ranks, so that tokens are even: a function of the batch
    learner._pass     each rank: forward over its layouts; a rank with none left goes along (`_idle`)
    teacher.on        the teacher's hidden states of exactly this layout, on the rank that trains on it
    head              the tiled head, whole on every rank for one update
    learner._give_back, FSDP      gradients are summed over ranks, never averaged: a loss is a sum over tokens
    sums              loss and metrics likewise; means are taken once

This room alone imports torch.distributed, ray and vllm.
"""
