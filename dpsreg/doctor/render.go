package doctor

import (
	"fmt"
	"io"
	"mintmark/dpsreg/attest"
	"strconv"
	"strings"
	"time"
)

// width is that of a terminal, in columns.
const width = 80

// Render writes a report for people. name is what was checked.
func (r Report) Render(w io.Writer, name string) error {
	var b strings.Builder
	b.WriteString(wrap(shown(name)+": "+r.headline(), "", "  "))
	if said := (Finding{Rule: r.Rule, Code: r.Code, Message: r.Message}).Answer(); said != "" {
		b.WriteString("  " + said + "\n") // on a line of its own, to be found with grep
	}
	b.WriteString("\n")
	keys, subjects := 0, 0
	for _, m := range r.Chain {
		keys, subjects = max(keys, len(m.Key)), max(subjects, min(30, len([]rune(shown(m.Subject)))))
	}
	for _, m := range r.Chain {
		line := fmt.Sprintf("  %2d  %-*s  %-*s  %s  ", m.Number, subjects, clip(shown(m.Subject), 30), keys, m.Key, m.NotAfter.Format(time.DateOnly))
		if m.Role == "" {
			line = strings.TrimRight(line, " ") + "\n"
		} else {
			line = wrap(m.Role, line, strings.Repeat(" ", len([]rune(line))))
		}
		b.WriteString(line)
	}
	if r.Order != nil {
		var list []string
		for _, n := range r.Order {
			list = append(list, strconv.Itoa(n))
		}
		b.WriteString(wrap("the right order is "+strings.Join(list, ", "), "\n      ", "      "))
	}
	b.WriteString("\n")
	for _, f := range r.Findings {
		b.WriteString(wrap(f.sentence(r.Message), fmt.Sprintf("%-8s ", f.Severity), "         "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// headline is the prediction in a few words.
func (r Report) headline() string {
	switch {
	case r.Prediction == Accepted:
		return "DPS accepts it" + r.by()
	case r.Prediction == Unknown && r.Rule == "":
		return "DPS accepts it" + r.by() + ", as far as that is documented"
	case r.Prediction == Unknown:
		return fmt.Sprintf("it is unknown whether DPS accepts it (%s)", r.Rule)
	case r.Message == "":
		return "DPS refuses it, in words that are not documented"
	}
	return "DPS refuses it:"
}

func (r Report) by() string {
	switch {
	case r.Individual != "":
		return ", by its individual enrollment"
	case r.Group != "":
		return ", by the group " + quote(r.Group)
	}
	return ""
}

// sentence is a finding in one line. said is the text of DPS that stands above.
func (f Finding) sentence(said string) string {
	text := f.Rule + ": " + f.Text
	if f.Severity == SeverityRefused && f.Message != "" && f.Message != said {
		text += ". DPS says: " + f.Answer()
	}
	if f.Unknown != "" {
		text += ". Unknown: " + f.Unknown
	}
	return text
}

// Answer is what DPS says of a finding that refuses: code and text, with "(inferred)" if
// it is documented that it refuses and not that it does so in these words. It is empty
// where the text is not known.
func (f Finding) Answer() string {
	if f.Message == "" {
		return ""
	}
	text := fmt.Sprintf("%d %q", f.Code, f.Message)
	if attest.RuleOf(f.Rule).Standing == attest.Inferred {
		text += " (inferred)"
	}
	return text
}

// wrap breaks a text into lines of at most width columns, where words are that short.
// The first line begins with first, which may have a line break, the others with indent.
func wrap(text, first, indent string) string {
	var b strings.Builder
	line, begin := first, true
	for _, word := range strings.Fields(text) {
		used := len([]rune(line)) - strings.LastIndex(line, "\n") - 1
		switch {
		case begin:
			line += word
		case used+1+len([]rune(word)) > width:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
		begin = false
	}
	b.WriteString(line + "\n")
	return b.String()
}

// shown is a foreign name without quotes, and without what could move a cursor.
func shown(s string) string {
	if s == "" {
		return "(no name)"
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return s
}
