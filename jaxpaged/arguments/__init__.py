"""What an engine can be told, by vLLM's names: one list for LLM(...), EngineArgs, flags, YAML files and variables."""
