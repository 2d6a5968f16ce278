package access_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/access"
)

// TestDocument holds docs/roles.md against the table.
func TestDocument(t *testing.T) {
	content, err := os.ReadFile("../../docs/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := markdown(); !strings.Contains(string(content), want) {
		t.Errorf("docs/roles.md does not hold the table; it is\n%s", want)
	}
}

// markdown is the table as docs/roles.md has it.
func markdown() string {
	var b strings.Builder
	b.WriteString("| operation | what it is |")
	for _, role := range access.Roles {
		fmt.Fprintf(&b, " %s |", role)
	}
	b.WriteString(" two persons |\n|---|---|" + strings.Repeat("---|", len(access.Roles)) + "---|\n")
	mark := func(yes bool) string {
		if yes {
			return " yes |"
		}
		return " |"
	}
	for _, rule := range access.Table {
		fmt.Fprintf(&b, "| `%s` | %s |", rule.Operation, rule.Words)
		for _, role := range access.Roles {
			b.WriteString(mark(slices.Contains(rule.Roles, role)))
		}
		b.WriteString(mark(rule.TwoPersons) + "\n")
	}
	return b.String()
}

// TestTable checks what every row must keep.
func TestTable(t *testing.T) {
	seen := make(map[access.Operation]bool)
	for _, rule := range access.Table {
		if seen[rule.Operation] || rule.Words == "" || len(rule.Roles) == 0 {
			t.Errorf("the row of %s is there twice, says nothing or is for nobody", rule.Operation)
		}
		seen[rule.Operation] = true
		for _, role := range access.Roles {
			if access.Can([]access.Role{role}, rule.Operation) != slices.Contains(rule.Roles, role) {
				t.Errorf("%s may do %s: not as the table says", role, rule.Operation)
			}
		}
		// Whoever decides about something must be able to have proposed it.
		if rule.TwoPersons && !slices.Contains(rule.Roles, access.Officer) {
			t.Errorf("%s needs two persons, and officers may not do it", rule.Operation)
		}
		// An auditor reads and a station asks for certificates.
		changes := !strings.HasSuffix(string(rule.Operation), ".read")
		if changes && slices.Contains(rule.Roles, access.Auditor) {
			t.Errorf("an auditor may do %s", rule.Operation)
		}
		if changes && rule.Operation != access.CertificateIssue && slices.Contains(rule.Roles, access.Station) {
			t.Errorf("a station may do %s", rule.Operation)
		}
	}
	if access.Can(access.Roles, "no.such") || access.Can(nil, access.StatusRead) || access.Can([]access.Role{"root"}, access.StatusRead) {
		t.Error("something is allowed that the table does not have")
	}
}
