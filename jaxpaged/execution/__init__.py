"""From a StepPlan to sampled tokens: fixed shapes, compiled once, run in program order."""
