"""The log of a run: one CSV line per few steps, and the loss curve as SVG."""
import csv
from pathlib import Path

FIELDS = ["step", "tokens", "share", "stage", "rate", "loss", "seconds", "copy", "lookup"]


def read_log(run):
    path = Path(run) / "log.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


class Log:
    """`log.csv`, one line per few steps, and `loss.svg` from it."""

    def __init__(self, run, step):
        self.run, self.path = run, run / "log.csv"
        rows = [r for r in read_log(run) if int(r["step"]) <= step]  # what lies after the checkpoint is done again
        with self.path.open("w", newline="") as f:
            out = csv.DictWriter(f, FIELDS)
            out.writeheader()
            out.writerows(rows)

    def write(self, step, tokens, share, stage, scale, losses, seconds, probes):
        line = [step, tokens, f"{share:.5f}", stage, f"{scale:.4f}", f"{sum(losses) / len(losses):.4f}", f"{seconds:.0f}",
                *(f"{p:.3f}" if p != "" else "" for p in probes)]
        with self.path.open("a", newline="") as f:
            csv.writer(f).writerow(line)
        print(*line, flush=True)

    def curve(self):
        points = [(int(r["tokens"]) / 1e6, float(r["loss"])) for r in read_log(self.run)]
        (self.run / "loss.svg").write_text(svg({"": points}, "million tokens", "loss on answers (weighted)"))


COLOURS = ("#1565c0", "#c62828", "#2e7d32", "#6a1b9a")


def svg(curves, xlabel, ylabel, width=720, height=360, margin=48):
    """A plain line chart of named curves, each a list of (x, y)."""
    points = [p for curve in curves.values() for p in curve]
    right, top = max((p[0] for p in points), default=0) or 1, max((p[1] for p in points), default=0) or 1
    place = lambda x, y: (margin + (width - 2 * margin) * x / right, height - margin - (height - 2 * margin) * y / top)
    lines, below, marks = "", height - margin + 16, ""
    for i, ((name, curve), colour) in enumerate(zip(curves.items(), COLOURS)):
        line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in curve)
        lines += f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
        lines += f"<text x='{width - margin}' y='{margin + 14 * i}' text-anchor='end' fill='{colour}'>{name}</text>"
    for x, y in ((right * i / 5, top * i / 5) for i in range(6)):
        px, py = place(x, y)
        marks += f"<text x='{px:.0f}' y='{below}' text-anchor='middle'>{x:.3g}</text>"
        marks += f"<text x='{margin - 6}' y='{py + 4:.0f}' text-anchor='end'>{y:.2g}</text>"
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' font-family='sans-serif' font-size='11'>"
            f"<rect width='{width}' height='{height}' fill='white'/>{lines}"
            f"<path d='M{margin} {margin}V{height - margin}H{width - margin}' fill='none' stroke='black'/>{marks}"
            f"<text x='{width / 2}' y='{height - 10}' text-anchor='middle'>{xlabel}</text>"
            f"<text x='14' y='{height / 2}' text-anchor='middle' transform='rotate(-90 14 {height / 2})'>{ylabel}</text></svg>\n")
