package lint

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity sorts findings by what follows from them.
type Severity string

const (
	// Refused: AWS is documented to refuse it.
	Refused Severity = "refused"
	// Mistake: AWS takes it, and it does not do what it is there for, or it does
	// what nobody would allow.
	Mistake Severity = "mistake"
	// Uncertain: AWS does not document whether it takes it.
	Uncertain Severity = "uncertain"
	// Advice: it works, and there is a better way.
	Advice Severity = "advice"
)

// Finding is one thing that is wrong in a file.
type Finding struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"` // from 1; 0 if it is about the whole file
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule"` // one of Rules
	Subject  string   `json:"subject"`
	AWS      string   `json:"aws,omitempty"` // what AWS says of it, as far as that is known
	Text     string   `json:"text"`          // what is wrong, and what to do
}

// String is the finding on one line.
func (f Finding) String() string {
	where := f.File
	if f.Line > 0 {
		where = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	says := ""
	if f.AWS != "" {
		says = fmt.Sprintf("AWS would say %q: ", f.AWS)
	}
	return fmt.Sprintf("%s: %s (%s): %s: %s%s", where, f.Severity, f.Rule, f.Subject, says, f.Text)
}

// Bad reports whether something must be put right: what AWS refuses, and mistakes.
func (f Finding) Bad() bool { return f.Severity == Refused || f.Severity == Mistake }

// report collects the findings of one file.
type report struct {
	file    string
	subject string
	list    []Finding
	// seen keeps a rule from saying the same of one line twice.
	seen map[string]bool
}

// maxFindings bounds what is said of one file.
const maxFindings = 500

func (r *report) add(rule string, line int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	key := fmt.Sprint(rule, line, text)
	if r.seen[key] || len(r.list) >= maxFindings {
		return
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[key] = true
	known := ruleOf(rule)
	r.list = append(r.list, Finding{r.file, line, known.Severity, rule, r.subject, known.AWS, text})
}

// about sets what the findings that follow are about.
func (r *report) about(format string, args ...any) { r.subject = fmt.Sprintf(format, args...) }

func inOrder(list []Finding) []Finding {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule))
	})
	return list
}

// cut keeps what is quoted of a file short.
func cut(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "..."
	}
	return s
}
