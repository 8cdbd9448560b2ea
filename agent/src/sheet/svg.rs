//! A page as SVG 1.1, at its real size.

use super::font::Font;
use super::page::{Align, Area, Ink, Mark, Page, points};

/// One file for each page: SVG has no pages.
pub fn write(title: &str, page: &Page) -> String {
    let (width, height) = (points(page.width), points(page.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}pt\" height=\"{height}pt\" \
         viewBox=\"0 0 {width} {height}\">\n<title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
        escape(title)
    );
    for mark in &page.marks {
        out += &match mark {
            Mark::Text { x, baseline, align, font, size, ink, text } => {
                let anchor = match align {
                    Align::Left => "start",
                    Align::Middle => "middle",
                    Align::Right => "end",
                };
                format!(
                    "<text x=\"{}\" y=\"{}\" {} font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
                    points(*x),
                    points(*baseline),
                    family(*font),
                    points(*size),
                    colour(*ink),
                    escape(text)
                )
            }
            Mark::Fill { area, radius, ink } => {
                format!("<rect {} rx=\"{}\" fill=\"{}\"/>", rectangle(area), points(*radius), colour(*ink))
            }
            Mark::Outline { area, radius, line, ink } => format!(
                "<rect {} rx=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"/>",
                rectangle(area),
                points(*radius),
                colour(*ink),
                points(*line)
            ),
            Mark::Modules(areas) => {
                let step = |area: &Area| {
                    let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(points);
                    format!("M{x} {y}h{width}v{height}h-{width}z")
                };
                format!("<path d=\"{}\"/>", areas.iter().map(step).collect::<String>())
            }
        };
        out.push('\n');
    }
    out + "</svg>\n"
}

fn family(font: Font) -> &'static str {
    match font {
        Font::Regular => "font-family=\"Helvetica,Arial,Liberation Sans,sans-serif\"",
        Font::Bold => "font-family=\"Helvetica,Arial,Liberation Sans,sans-serif\" font-weight=\"bold\"",
        Font::Code => "font-family=\"Courier,Courier New,Liberation Mono,monospace\" font-weight=\"bold\"",
    }
}

fn rectangle(area: &Area) -> String {
    let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(points);
    format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"")
}

fn colour(ink: Ink) -> String {
    let [red, green, blue] = ink.rgb();
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            // Not allowed in XML.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escape("<a href=\"x\">&\u{1b}"), "&lt;a href=&quot;x&quot;&gt;&amp; ");
        let area = Area { x: 1, y: 2, width: 300, height: 400 };
        let page = Page { width: 500, height: 600, marks: vec![Mark::Modules(vec![area, area])] };
        let expected = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"5pt\" height=\"6pt\" viewBox=\"0 0 5 6\">\n\
            <title>t</title>\n<rect width=\"5\" height=\"6\" fill=\"#fff\"/>\n\
            <path d=\"M0.01 0.02h3v4h-3zM0.01 0.02h3v4h-3z\"/>\n</svg>\n";
        assert_eq!(write("t", &page), expected);
    }
}
