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
        rows = read_log(self.run)
        points = [(int(r["tokens"]) / 1e6, float(r["loss"])) for r in rows]
        (self.run / "loss.svg").write_text(svg(points, "million tokens", "loss on answers (weighted)"))


def svg(points, xlabel, ylabel, width=720, height=360, margin=48):
    """A plain line chart."""
    xs, ys = [p[0] for p in points] or [0], [p[1] for p in points] or [0]
    right, top = max(xs) or 1, max(ys) or 1
    place = lambda x, y: (margin + (width - 2 * margin) * x / right, height - margin - (height - 2 * margin) * y / top)
    line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
    below, marks = height - margin + 16, ""
    for x, y in ((right * i / 5, top * i / 5) for i in range(6)):
        px, py = place(x, y)
        marks += f"<text x='{px:.0f}' y='{below}' text-anchor='middle'>{x:.3g}</text>"
        marks += f"<text x='{margin - 6}' y='{py + 4:.0f}' text-anchor='end'>{y:.2g}</text>"
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' font-family='sans-serif' font-size='11'>"
            f"<rect width='{width}' height='{height}' fill='white'/>"
            f"<polyline points='{line}' fill='none' stroke='#1565c0' stroke-width='1.5'/>"
            f"<path d='M{margin} {margin}V{height - margin}H{width - margin}' fill='none' stroke='black'/>{marks}"
            f"<text x='{width / 2}' y='{height - 10}' text-anchor='middle'>{xlabel}</text>"
            f"<text x='14' y='{height / 2}' text-anchor='middle' transform='rotate(-90 14 {height / 2})'>{ylabel}</text></svg>\n")
