"""What the words and columns of the report mean: the notes below its tables."""

SPREAD = (
    "Medians; small: an order-statistic interval that holds the true median with 95 % or more, or a range where there "
    "are too few samples for that. Ratios: 95 % bootstrap intervals."
)
HEADLINE = (
    "For each backend the fastest row whose perplexity is within 1 % of the source in fp32, and the fastest of any "
    f"accuracy where that is another. {SPREAD}"
)
COLD = (
    "From the spawn of a fresh process to its first prediction (one token of a request). Interpreter: up to the first "
    "statement. Imports: inside import statements, wherever they ran. Load: the rest of set-up. Memory: the most that "
    "was resident until then, mapped files included. A process sees only the packages of its own dependency closure, "
    f"as if no others were installed. {SPREAD}"
)
WARM = "One whole request or batch in a warm process. Per s: new tokens (or items) of all requests together."
SIZE = (
    "Installed: every package in the dependency closure of the run time's extra, without pip and setuptools; torch as "
    "it lies here, the others installed afresh. Image: the packages that an image of ours holds, installed afresh from "
    "its closed list and slimmed. Imported: those whose modules the measured process loaded, whole. "
    "Peak memory: until the warm runs of the smallest batch. "
    "Accuracy: at conversion, against the source in fp32, on the same texts for every row. Area of a dot: cold start."
)
PRICES = (
    "Small: USD for 1,000 warm requests, and the share of requests that meet a cold start. Modelled, not measured: "
    "quoted prices as of {as_of}, each provider's billing rules and own idle window, Poisson arrivals, one instance, "
    "this machine's durations. The cold start is the process alone: image pull and the "
    "provider's own overhead come on top. Two figures where a provider's rules are not fully known."
)
FRAMEWORK = (
    "From the spawn of the platform's own local server to the first good answer of the model-free echo bundle, on a "
    "fresh port each time, asked every 20 ms; a loopback fake of the platform's queue (runpod, lambda) runs before the "
    "clock starts. Hello-world: the smallest program in the platform's own style, by the same command; plain uvicorn "
    "where the platform runs any container. Added: the difference, with its 95 % bootstrap interval. CPU: processor "
    "time of all of the server's processes until then. Installed: the packages of the image, without a model's run "
    "time, really installed into a fresh folder with their bytecode (ours: as the artifact's recipe says, with what "
    "the platform's builder adds, and our sources in the artifact), without Python itself. "
    "Memory: resident in all of the server's processes then. "
    f"{SPREAD}"
)
