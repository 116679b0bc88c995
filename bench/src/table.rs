//! Measurements as text: lines under named columns, and what the rounds of one case say together.
//!
//! A record's `raw.csv` is the only thing its tables and plots are made from, and instruments grow
//! columns over the years; so columns are found by name and one that is missing is a number nobody
//! measured. Fields hold no commas but inside double quotes.

/// Lines of a CSV file under its header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The rounds of one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    columns: &'a [String],
    fields: &'a [String],
}

impl Table {
    /// An empty table under a header line.
    pub(crate) fn new(header: &str) -> Self {
        Self {
            columns: fields(header),
            rows: Vec::new(),
        }
    }

    /// Reads a whole file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut table = Self::new(lines.next().ok_or("the file is empty")?);
        for line in lines.filter(|line| !line.is_empty()) {
            table.push(line)?;
        }
        Ok(table)
    }

    /// Adds a line.
    pub(crate) fn push(&mut self, line: &str) -> Result<(), String> {
        let fields = fields(line);
        if fields.len() != self.columns.len() {
            return Err(format!(
                "{} fields under {} columns: {line}",
                fields.len(),
                self.columns.len()
            ));
        }
        self.rows.push(fields);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole file again.
    pub(crate) fn to_text(&self) -> String {
        let lines = std::iter::once(&self.columns).chain(&self.rows);
        lines.map(|fields| line(fields) + "\n").collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|fields| Row {
            columns: &self.columns,
            fields,
        })
    }
}

impl<'a> Row<'a> {
    /// The text under a column; empty if there is no such column.
    pub(crate) fn text(self, column: &str) -> &'a str {
        let place = self.columns.iter().position(|name| name == column);
        place.map_or("", |place| &self.fields[place])
    }

    /// The number under a column, if it was measured.
    pub(crate) fn number(self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }
}

impl Spread {
    /// What `values` say; none if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self {
            median: f64::midpoint(below, above),
            min,
            max,
        })
    }
}

/// Fields as one line, quoted where they hold a comma.
pub(crate) fn line(fields: &[impl AsRef<str>]) -> String {
    let quote = |field: &str| {
        if field.contains(',') {
            format!("\"{field}\"")
        } else {
            field.to_owned()
        }
    };
    let quoted: Vec<_> = fields.iter().map(|field| quote(field.as_ref())).collect();
    quoted.join(",")
}

/// The fields of a line.
fn fields(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => found.push(String::new()),
            _ => found.last_mut().expect("never empty").push(c),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_the_name_of_their_column() {
        let text = "server,cpu,values\na,1.5,\"1,2\"\nb,,3\n";
        let table = Table::parse(text).unwrap();
        assert_eq!(table.to_text(), text);
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(
            (rows[0].text("server"), rows[0].number("cpu")),
            ("a", Some(1.5))
        );
        assert_eq!(
            (rows[0].text("values"), rows[1].number("cpu")),
            ("1,2", None)
        );
        assert_eq!(
            (rows[1].text("latency"), rows[1].number("latency")),
            ("", None)
        );
    }

    #[test]
    fn a_line_that_does_not_fit_its_header_is_refused() {
        assert!(Table::parse("a,b\n1,2,3\n").is_err());
        assert!(Table::parse("").is_err());
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([]), None);
    }
}
