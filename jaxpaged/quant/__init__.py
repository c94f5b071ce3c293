"""Quantized weights: pytrees that linear() understands, and the rules that say which weights become one."""
