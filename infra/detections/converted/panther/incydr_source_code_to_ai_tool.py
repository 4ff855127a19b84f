def rule(event):
    return all([all([any([any(value is not None and str(value).lower() == 'sourcecode' for value in [event.deep_get("file", "category")]), any(value is not None and str(value).lower() == 'script' for value in [event.deep_get("file", "category")])]), any([any(value is not None and 'chatgpt' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'openai' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'claude' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'gemini' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'copilot' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'deepseek' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'perplexity' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'mistral' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'hugging face' in str(value).lower() for value in [event.deep_get("destination", "name")]), any(value is not None and 'poe' in str(value).lower() for value in [event.deep_get("destination", "name")])])]), not any(value is True for value in [event.deep_get("risk", "trusted")])])


def title(event):
    return 'Source code to an AI tool'


def dedup(event):
    return str(event.deep_get("event", "id"))
