"""Names that columns usually have, by what they hold; pairs stand together."""

PAIRS = (
    ("question", "sentence"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
)
TEXTS = (
    "text", "sentence", "content", "review", "document", "question", "comment",
    "message", "body",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "category", "topic", "intent", "domain", "sentiment",
    "target",
)  # fmt: skip
NUMBERS = ("score", "rating", "similarity", "value", *LABELS)
TAGS = ("ner_tags", "tags", "pos_tags", "labels", "label")
WORDS = ("tokens", "words", "text", "sentence")
IMAGES = ("image", "img")
SOUNDS = ("audio", "sound", "speech", "recording", "clip", "wav", "file", "path")
CAPTIONS = ("text", "caption", "title", "sentence", "question", "content", "message")
PROMPTS = (
    ("instruction", "context"),
    ("instruction", "input"),
    ("instruction",),
    ("question",),
    ("prompt",),
    ("input",),
    ("mr",),
)
SOURCES = (
    *PROMPTS, ("document",), ("article",), ("dialogue",), ("source",), ("text",),
)  # fmt: skip
CHATS = ("messages", "conversations", "conversation")
PLAIN = ("text", "content", "document", "body")
ANSWERS = ("answer", "response", "output", "completion", "ref")
TARGETS = (*ANSWERS, "target", "summary", "highlights", "translation")
CLIENTS = ("client", "client_id", "user", "user_id")
