# Draws line plots as SVG that follows the reader's light or dark theme. Reads lines:
#   size WIDTH HEIGHT [COLUMNS]     of the whole; panels fill rows of so many columns, without it one row
#   panel TITLE|X LABEL|log or nothing|log or nothing      x and y axes
#   range X0 X1 Y0 Y1                                       of this panel; without it what the points need
#   series NAME|COLOUR|WIDTH|DASHES                         no name: not in the legend; width 0: dots alone
#   X Y
function split_line(text) { count = split(text, field, "|") }
/^size / { width = $2; height = $3; columns = $4; next }
/^panel / {
    split_line(substr($0, 7)); ++panels
    title[panels] = field[1]; label[panels] = field[2]; log_x[panels] = field[3] == "log"; log_y[panels] = field[4] == "log"
    next
}
/^range / { x0[panels] = $2; x1[panels] = $3; y0[panels] = $4; y1[panels] = $5; given[panels] = 1; next }
/^series / {
    split_line(substr($0, 8)); ++series
    name[series] = field[1]; colour[series] = field[2]; thick[series] = field[3]; dashes[series] = field[4]; of[series] = panels
    next
}
NF == 2 {
    n = ++points[series]; px[series, n] = $1; py[series, n] = $2
    if (!given[panels]) {
        if (!(panels in x0) || $1 < x0[panels]) x0[panels] = $1
        if (!(panels in x1) || $1 > x1[panels]) x1[panels] = $1
        if (!(panels in y0) || $2 < y0[panels]) y0[panels] = $2
        if (!(panels in y1) || $2 > y1[panels]) y1[panels] = $2
    }
}
function share(v, low, high, is_log) { return is_log ? log(v / low) / log(high / low) : (v - low) / (high - low) }
function x_of(p, v) { return 52 + (each - 70) * share(v, x0[p], x1[p], log_x[p]) }
function y_of(p, v) { return bottom - (bottom - 34) * share(v, y0[p], y1[p], log_y[p]) }
function tick(p, is_x, v,    x, y) {
    if (is_x) {
        x = x_of(p, v)
        printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" %s.5\"/>", x, x, bottom, bottom + 4, faint
        printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x, bottom + 17, short(v)
    } else {
        y = y_of(p, v)
        printf "<line x1=\"52\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" %s.14\"/>", each - 18, y, y, faint
        printf "<text x=\"46\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", y + 4, short(v)
    }
}
function short(v) { return v >= 1e6 ? sprintf("%.4gM", v / 1e6) : v >= 1e4 ? sprintf("%.4gk", v / 1e3) : sprintf("%.4g", v) }
function ticks(p, is_x, low, high, is_log,    step, v, d, m, many) {
    if (is_log) {
        many = log(high / low) / log(10)
        for (d = 10 ^ int(log(low) / log(10) - 1); d <= high; d *= 10)
            for (m = 1; m < 10; m++)
                if ((m == 1 || (many < 2.5 && (m == 2 || m == 5))) && d * m >= low * 0.999 && d * m <= high * 1.001) tick(p, is_x, d * m)
        return
    }
    step = 10 ^ int(log((high - low) / 2) / log(10) - 1)
    while ((high - low) / step > 6) step *= (m = !m) ? 2 : 2.5
    for (v = step * int(low / step + 0.999); v <= high + step / 100; v += step) tick(p, is_x, v)
}
function style(s) {
    return sprintf("stroke=\"%s\" stroke-width=\"%s\"%s", colour[s], thick[s], dashes[s] ? " stroke-dasharray=\"" dashes[s] "\"" : "")
}
function draw(s,    p, i, line, v) {
    p = of[s]
    for (i = 1; i <= points[s]; i++) {
        if (px[s, i] < x0[p] || px[s, i] > x1[p]) continue
        v = py[s, i] > y1[p] ? y1[p] : py[s, i] < y0[p] ? y0[p] : py[s, i]
        line = line sprintf("%.1f,%.1f ", x_of(p, px[s, i]), y_of(p, v))
        if (thick[s] == 0 || points[s] < 10)
            printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\"/>\n", x_of(p, px[s, i]), y_of(p, v),
                   thick[s] == 0 ? 4 : 1 + thick[s] / 2, colour[s]
    }
    if (thick[s] > 0)
        printf "<polyline fill=\"none\" %s stroke-linejoin=\"round\" points=\"%s\"/>\n", style(s), line
}
function legend(p,    s, y) {
    y = bottom + 56
    for (s = 1; s <= series; s++) {
        if (of[s] != p || name[s] == "") continue
        if (thick[s] == 0) printf "<circle cx=\"66\" cy=\"%d\" r=\"4\" fill=\"%s\"/>", y - 4, colour[s]
        else printf "<line x1=\"54\" x2=\"78\" y1=\"%d\" y2=\"%d\" %s/>", y - 4, y - 4, style(s)
        printf "<text x=\"86\" y=\"%d\">%s</text>\n", y, name[s]
        y += 18
    }
}
END {
    faint = "stroke=\"currentColor\" stroke-opacity=\""
    if (!width) { width = 760; height = 400 }
    if (!columns) columns = panels
    each = width / columns
    row_count = int((panels + columns - 1) / columns)
    for (s = 1; s <= series; s++) {
        r = int((of[s] - 1) / columns)
        if (name[s] != "" && ++legends[of[s]] > legend_rows[r]) legend_rows[r]++
    }
    for (r = 0; r < row_count; r++) legends_above[r + 1] = legends_above[r] + legend_rows[r]
    bottom = (height - 18 * legends_above[row_count]) / row_count - 62       # of a row, to its x axis
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height
    print "<style>svg{background:#fff;color:#222}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{background:#1b1d21;color:#ddd}}</style>"
    for (p = 1; p <= panels; p++) {
        if (!given[p]) {
            if (log_y[p]) { y0[p] /= 1.15; y1[p] *= 1.15 } else { pad = (y1[p] - y0[p]) * 0.05; y0[p] -= pad; y1[p] += pad }
            if (log_x[p]) { x0[p] /= 1.08; x1[p] *= 1.08 }
        }
        r = int((p - 1) / columns)
        printf "<g transform=\"translate(%.1f %.1f)\">", (p - 1) % columns * each, r * (bottom + 62) + 18 * legends_above[r]
        printf "<text x=\"52\" y=\"20\" font-weight=\"bold\">%s</text>\n", title[p]
        ticks(p, 0, y0[p], y1[p], log_y[p]); ticks(p, 1, x0[p], x1[p], log_x[p])
        printf "<line x1=\"52\" x2=\"%d\" y1=\"%d\" y2=\"%d\" %s.5\"/>", each - 18, bottom, bottom, faint
        printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", 52 + (each - 70) / 2, bottom + 34, label[p]
        for (s = 1; s <= series; s++) if (of[s] == p) draw(s)
        legend(p)
        print "</g>"
    }
    print "</svg>"
}
