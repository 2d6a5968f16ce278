package doctor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
)

func ruleRow(r attest.Rule) string {
	says := ""
	switch {
	case r.Message != "":
		says = fmt.Sprintf("%d %q", r.Code, r.Message)
	case r.Refuses:
		says = "not documented"
	}
	verdict := "accepted"
	if r.Refuses {
		verdict = "refused"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s | [%s](%s) |", r.Name, r.Says, r.Standing, verdict, says, r.Unknown, sourceName(r.Source), r.Source)
}

func warningRow(w Warning) string { return fmt.Sprintf("| `%s` | %s |", w.Name, w.Finds) }

func fixtureRow(f attesttest.Fixture) string {
	var confirms []string
	for _, url := range f.Confirms {
		confirms = append(confirms, fmt.Sprintf("[%s](%s)", sourceName(url), url))
	}
	text := fmt.Sprintf("%d %q", f.Code, f.Message)
	if f.Inferred != "" {
		text += " (inferred)"
	}
	return fmt.Sprintf("| %s | `%s` | %s | [%s](%s) | %s |", f.What, f.Rule, text, sourceName(f.Source), f.Source, strings.Join(confirms, ", "))
}

// sourceName is what a link to a source shows: repo#number, or the page's name.
func sourceName(url string) string {
	parts := strings.Split(strings.TrimPrefix(url, "https://"), "/")
	switch {
	case parts[0] == "github.com" && len(parts) == 5:
		return parts[2] + "#" + parts[4]
	case parts[0] == "stackoverflow.com":
		return "Stack Overflow " + parts[2]
	case strings.HasPrefix(url, "https://www.rfc-editor.org/rfc/rfc"):
		return "RFC " + strings.Replace(strings.TrimPrefix(parts[len(parts)-1], "rfc"), "#section-", ", ", 1)
	}
	name, _, _ := strings.Cut(parts[len(parts)-1], "#")
	return name
}

// TestDocumented: docs/azure-doctor.md has a row for each rule, each warning and each
// text on record, in the words of the tables, and none for anything else.
func TestDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/azure-doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	var rows []string
	for _, r := range attest.Rules() {
		rows = append(rows, ruleRow(r))
	}
	for _, w := range Warnings() {
		rows = append(rows, warningRow(w))
	}
	for _, f := range attesttest.Fixtures(t) {
		rows = append(rows, fixtureRow(f))
	}
	for _, row := range rows {
		if strings.Count(doc, "\n"+row+"\n") != 1 {
			t.Errorf("there is no row\n%s", row)
		}
	}
	names := map[string]bool{}
	for _, r := range attest.Rules() {
		names[r.Name] = true
	}
	for _, w := range Warnings() {
		if names[w.Name] {
			t.Errorf("%s is a rule and a warning", w.Name)
		}
		names[w.Name] = true
	}
	for line := range strings.SplitSeq(doc, "\n") {
		name, found := strings.CutPrefix(line, "| `")
		if name, _, _ = strings.Cut(name, "`"); found && !strings.HasPrefix(name, "--") && !names[name] {
			t.Errorf("there is a row of %s, which is no rule", name)
		}
	}
}
