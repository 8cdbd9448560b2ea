//! Pages as PDF 1.4: a few numbered objects, a table of where they begin, nothing compressed and no date.
//!
//! ```text
//!  1 catalog   2 pages   3..5 fonts   6 info   then for each page: the page, its content
//! ```

use super::font::Font;
use super::page::{Align, Area, Ink, Length, Mark, Page, points};

/// Objects before the first page.
const FIRST_PAGE: usize = 7;

/// The bytes of the file.
pub fn write(title: &str, pages: &[Page]) -> Vec<u8> {
    let mut file = File { bytes: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec(), offsets: Vec::new() };
    file.object("<< /Type /Catalog /Pages 2 0 R >>");
    let kids: Vec<String> = (0..pages.len()).map(|at| format!("{} 0 R", FIRST_PAGE + 2 * at)).collect();
    file.object(&format!("<< /Type /Pages /Count {} /Kids [{}] >>", pages.len(), kids.join(" ")));
    for font in Font::ALL {
        let name = match font {
            Font::Regular => "Helvetica",
            Font::Bold => "Helvetica-Bold",
            Font::Code => "Courier-Bold",
        };
        file.object(&format!(
            "<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>"
        ));
    }
    let mut info = b"<< /Producer (Stockwire) /Title ".to_vec();
    info.extend(string(title));
    info.extend(b" >>");
    file.object_bytes(&info);
    for (at, page) in pages.iter().enumerate() {
        file.object(&format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {} {}] /Contents {} 0 R \
             /Resources << /Font << /F0 3 0 R /F1 4 0 R /F2 5 0 R >> >> >>",
            points(page.width),
            points(page.height),
            FIRST_PAGE + 2 * at + 1
        ));
        let content = content(page);
        let mut stream = format!("<< /Length {} >>\nstream\n", content.len()).into_bytes();
        stream.extend(content);
        stream.extend(b"\nendstream");
        file.object_bytes(&stream);
    }
    file.finish()
}

struct File {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl File {
    fn object(&mut self, body: &str) {
        self.object_bytes(body.as_bytes());
    }

    fn object_bytes(&mut self, body: &[u8]) {
        self.offsets.push(self.bytes.len());
        self.bytes.extend(format!("{} 0 obj\n", self.offsets.len()).bytes());
        self.bytes.extend(body);
        self.bytes.extend(b"\nendobj\n");
    }

    fn finish(mut self) -> Vec<u8> {
        let (begin, count) = (self.bytes.len(), self.offsets.len() + 1);
        // Each row of the table is 20 bytes, its line end included.
        let mut table = format!("xref\n0 {count}\n0000000000 65535 f \n");
        for offset in &self.offsets {
            table += &format!("{offset:010} 00000 n \n");
        }
        table +=
            &format!("trailer\n<< /Size {count} /Root 1 0 R /Info 6 0 R >>\nstartxref\n{begin}\n%%EOF\n");
        self.bytes.extend(table.bytes());
        self.bytes
    }
}

fn content(page: &Page) -> Vec<u8> {
    let mut out = Vec::new();
    for mark in &page.marks {
        match mark {
            Mark::Text { x, baseline, align, font, size, ink, text } => {
                let width = font.width(text, *size);
                let left = match align {
                    Align::Left => *x,
                    Align::Middle => x - width / 2,
                    Align::Right => x - width,
                };
                let number = Font::ALL.iter().position(|known| known == font).unwrap_or(0);
                let (size, left, up) = (points(*size), points(left), points(page.height - baseline));
                out.extend(format!("{} rg BT /F{number} {size} Tf {left} {up} Td ", colour(*ink)).bytes());
                out.extend(string(text));
                out.extend(b" Tj ET\n");
            }
            Mark::Fill { area, radius, ink } => {
                out.extend(format!("{} rg {} f\n", colour(*ink), round(page, area, *radius)).bytes());
            }
            Mark::Outline { area, radius, line, ink } => {
                let path = round(page, area, *radius);
                out.extend(format!("{} RG {} w {path} S\n", colour(*ink), points(*line)).bytes());
            }
            Mark::Modules(areas) => {
                out.extend(b"0 0 0 rg\n");
                for area in areas {
                    let [x, y, width, height] =
                        [area.x, page.height - area.y - area.height, area.width, area.height].map(points);
                    out.extend(format!("{x} {y} {width} {height} re\n").bytes());
                }
                out.extend(b"f\n");
            }
        }
    }
    out
}

fn colour(ink: Ink) -> String {
    ink.rgb().map(|part| points(i32::from(part) * 100 / 255)).join(" ")
}

/// The path of a rectangle with round corners: lines and quarter circles.
fn round(page: &Page, area: &Area, radius: Length) -> String {
    let [left, right] = [area.x, area.x + area.width];
    let [top, bottom] = [page.height - area.y, page.height - area.y - area.height];
    // A quarter circle as a curve: its handles are 0.552 of the radius long.
    let handle = radius - radius * 552 / 1000;
    let at = |x: Length, y: Length| format!("{} {}", points(x), points(y));
    let curve = |a: String, b: String, c: String| format!("{a} {b} {c} c");
    [
        format!("{} m", at(left + radius, bottom)),
        format!("{} l", at(right - radius, bottom)),
        curve(at(right - handle, bottom), at(right, bottom + handle), at(right, bottom + radius)),
        format!("{} l", at(right, top - radius)),
        curve(at(right, top - handle), at(right - handle, top), at(right - radius, top)),
        format!("{} l", at(left + radius, top)),
        curve(at(left + handle, top), at(left, top - handle), at(left, top - radius)),
        format!("{} l", at(left, bottom + radius)),
        curve(at(left, bottom + handle), at(left + handle, bottom), at(left + radius, bottom)),
        "h".to_owned(),
    ]
    .join(" ")
}

/// A string of the fonts' encoding, which is Latin-1 for all that it shares with it.
fn string(text: &str) -> Vec<u8> {
    let mut out = vec![b'('];
    for c in text.chars() {
        match c {
            '(' | ')' | '\\' => out.extend([b'\\', c as u8]),
            ' '..='~' | '\u{a0}'..='\u{ff}' => out.push(c as u8),
            _ => out.push(b'?'),
        }
    }
    out.push(b')');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_where_each_object_begins() {
        let text = Mark::Text {
            x: 1000,
            baseline: 2000,
            align: Align::Right,
            font: Font::Code,
            size: 1000,
            ink: Ink::Black,
            text: "(\\\u{eb}\u{2713}".into(),
        };
        let page = Page { width: 10_000, height: 20_000, marks: vec![text] };
        let file = write("t", &[page.clone(), page]);
        let find = |needle: &[u8]| file.windows(needle.len()).position(|window| window == needle);
        assert!(find(b"0 0 0 rg BT /F2 10 Tf -14 180 Td (\\(\\\\\xeb?) Tj ET").is_some());
        let begin = find(b"xref\n").unwrap();
        let table = String::from_utf8(file[begin..].to_vec()).unwrap();
        assert!(table.ends_with(&format!("startxref\n{begin}\n%%EOF\n")));
        let rows: Vec<&str> = table.lines().skip(3).take(10).collect();
        for (at, row) in rows.iter().enumerate() {
            let offset: usize = row[..10].parse().unwrap();
            assert!(file[offset..].starts_with(format!("{} 0 obj\n", at + 1).as_bytes()), "{row}");
        }
        assert!(table.contains("/Size 11 "));
    }
}
