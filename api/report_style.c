/* The style of report.html: light and dark by the reader's preference, narrow screens, paper. Curves have plot_style's. */
#include "api/report_parts.h"

static const char COLOURS[] =
    ":root{color-scheme:light dark;--ink:#1f2328;--soft:#57606a;--line:#d8dee4;--ground:#ffffff;--card:#f6f8fa;\n"
    "--accent:#0969da;--good:#1a7f37;--warn:#9a6700;--warnground:#fff8e5;--goodground:#eaf6ec}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9ba6b2;--line:#30363d;--ground:#0d1117;\n"
    "--card:#161b22;--accent:#58a6ff;--good:#56d364;--warn:#e3b341;--warnground:#272115;--goodground:#12261a}}\n";

static const char LAYOUT[] =
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0;background:var(--ground);color:var(--ink);\n"
    "font:16px/1.55 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\n"
    "main{max-width:1060px;margin:0 auto;padding:28px 20px 72px}\n"
    "h1{font-size:1.7rem;line-height:1.25;margin:.1em 0 .2em;overflow-wrap:anywhere}\n"
    "h2{font-size:1.22rem;margin:0 0 .5em;line-height:1.3}h3{font-size:1rem;margin:1.4em 0 .4em}\n"
    "p{margin:.5em 0;max-width:76ch;overflow-wrap:anywhere}section{margin-top:40px}\n"
    ".kicker{color:var(--soft);font-size:.8rem;letter-spacing:.08em;text-transform:uppercase;margin:0}\n"
    ".soft,figcaption,.meta{color:var(--soft);font-size:.88rem}.meta{margin:0}\n"
    "nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:18px 0 0;font-size:.9rem;border-top:1px solid var(--line);"
    "padding-top:10px}\n"
    "a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}\n"
    "code,pre{font-family:ui-monospace,'DejaVu Sans "
    "Mono',Menlo,Consolas,monospace;font-size:.84rem;overflow-wrap:anywhere}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;white-space:pre-wrap;"
    "margin:.6em 0}\n";

static const char VERDICT[] =
    ".verdict{border:1px solid var(--line);border-left:5px solid var(--good);background:var(--card);"
    "border-radius:10px;padding:18px 22px;margin-top:22px}\n"
    ".verdict.open{border-left-color:var(--warn)}.pick{font-size:1.55rem;font-weight:650;margin:.1em 0 .3em;"
    "line-height:1.25}\n"
    ".pill{display:inline-block;border-radius:99px;padding:1px 12px;font-size:.84rem;font-weight:600;"
    "color:var(--good);background:var(--goodground);border:1px solid currentColor}\n"
    ".open .pill,.pill.open{color:var(--warn);background:var(--warnground)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px 22px;margin:18px 0 2px}\n"
    ".tiles div{border-top:1px solid var(--line);padding-top:8px}.tiles dt{color:var(--soft);font-size:.8rem;"
    "line-height:1.3}\n"
    ".tiles dd{margin:2px 0 0;font-size:1.2rem;font-weight:600;font-variant-numeric:tabular-nums;"
    "overflow-wrap:anywhere;line-height:1.3}\n"
    ".tiles small{display:block;font-weight:400;font-size:.8rem;color:var(--soft)}\n"
    ".care{border-left:4px solid var(--warn);background:var(--warnground);border-radius:6px;padding:8px 14px;"
    "max-width:none}\n"
    ".cares{list-style:none;padding:0;margin:0}.cares li{margin:0 0 8px;overflow-wrap:anywhere}\n";

static const char FIGURES[] =
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:18px 28px}\n"
    "figure{margin:0;min-width:0;display:flex;flex-direction:column}figcaption b{color:var(--ink)}"
    "svg.chart{display:block;width:100%;height:auto;"
    "margin-top:6px}\n"
    ".chart text{font-size:13px}.chart .here{font-weight:700}.swatch{width:28px;height:10px;flex:none;"
    "vertical-align:middle}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:3px 20px;padding:0;margin:14px 0 0;font-size:.88rem}\n"
    ".legend li{display:flex;gap:8px;align-items:center;min-width:0;overflow-wrap:anywhere}\n"
    ".early{fill:var(--soft);opacity:.1}.limit{stroke:var(--good);stroke-width:1.2;stroke-dasharray:6 4}\n"
    ".agree{fill:none;stroke:var(--accent);stroke-width:2}.yes{fill:var(--accent);stroke:var(--accent)}\n"
    ".no{fill:var(--ground);stroke:var(--accent);stroke-width:1.5}\n"
    ".whisker{width:150px;height:16px;vertical-align:middle}.zero{stroke:var(--soft);stroke-dasharray:2 3}\n"
    ".span{stroke:var(--soft);stroke-width:2}.tied .span{stroke:var(--good)}.dotty{fill:var(--ink)}\n"
    ".bar{display:flex;height:20px;border-radius:5px;overflow:hidden;background:var(--line);margin:10px 0 4px}\n"
    ".bar i{display:block;background:var(--accent);min-width:3px}\n";

static const char TABLES[] =
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}\n"
    "table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:6px 10px;text-align:right;white-space:nowrap;vertical-align:middle}\n"
    "thead th{color:var(--soft);font-weight:500;border-bottom:1px solid var(--line);white-space:normal;"
    "line-height:1.25;vertical-align:bottom}\n"
    "tbody tr+tr td{border-top:1px solid var(--line)}tbody tr.apart td{border-top:2px solid var(--soft)}\n"
    "th.who,td.who,th.left,td.left{text-align:left}td.who{min-width:9.5em;white-space:normal;overflow-wrap:anywhere;"
    "line-height:1.3}\n"
    "td.left{white-space:normal;overflow-wrap:anywhere;min-width:12em}td.who small{display:block;color:var(--soft)}\n"
    "tr.first td{background:var(--goodground)}tr.first .who{font-weight:650}tr.dead td{color:var(--soft)}\n"
    "article{margin-top:64px;border-top:3px double var(--line);padding-top:20px}\n"
    ".pairs{display:grid;grid-template-columns:max-content 1fr;gap:3px 20px;font-size:.9rem;margin:.6em 0}\n"
    ".pairs dt{color:var(--soft)}.pairs dd{margin:0;overflow-wrap:anywhere;min-width:0}\n";

static const char SCREENS[] =
    "@media (max-width:640px){main{padding:18px 14px 48px}h1{font-size:1.4rem}.verdict{padding:14px 15px}"
    ".pick{font-size:1.35rem}\n"
    ".tiles{grid-template-columns:1fr 1fr;gap:10px 16px}.chart text{font-size:15px}.wide{display:none}"
    "th,td{padding:5px 7px}\n"
    "td.who{min-width:7.5em}.whisker{width:110px}.swatch{width:18px}section{margin-top:32px}"
    ".pairs{grid-template-columns:1fr;gap:0}"
    ".pairs dd{margin:0 0 6px}}\n"
    "@media print{body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}.scroll{overflow:visible;border:0}\n"
    "table{font-size:8.2pt}th,td{padding:3px 5px}.whisker{width:90px}figure,tr,.verdict,.tiles "
    "div{break-inside:avoid}\n"
    "h2,h3{break-after:avoid}section{margin-top:20px}.charts{grid-template-columns:1fr 1fr}a{color:inherit}\n"
    ".bar,.bar i,tr.first td,.verdict,.care,.pill{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";

void report_style(struct buffer *out)
{
    plot_style(out);
    buffer_text(out, "<style>\n");
    buffer_text(out, COLOURS);
    buffer_text(out, LAYOUT);
    buffer_text(out, VERDICT);
    buffer_text(out, FIGURES);
    buffer_text(out, TABLES);
    buffer_text(out, SCREENS);
    buffer_text(out, "</style>\n");
}
