package est

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestRulesAreDocumented wants every rule that can refuse a request in the
// tables of docs/rfc.md and docs/issuance-cycle.md: what a device is told must
// be found there.
func TestRulesAreDocumented(t *testing.T) {
	rows := make(map[string]bool)
	for _, file := range []string{"rfc.md", "issuance-cycle.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if cells := strings.Split(line, "|"); len(cells) > 3 {
				for name := range strings.SplitSeq(cells[1], ",") {
					rows[strings.TrimSpace(name)] = true
				}
			}
		}
	}
	rules := make(map[string]string) // and where
	for _, pattern := range []string{"*.go", "../*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				rulesIn(t, file, rules)
			}
		}
	}
	if len(rules) < 60 {
		t.Fatalf("found %d rules only", len(rules))
	}
	for rule, file := range rules {
		if !rows[rule] {
			t.Errorf("%s: rule %s is in no table", file, rule)
		}
	}
}

// rulesIn finds the constants named rule..., the second argument of refuse and
// the first of unavailable, and the field Rule of literals.
func rulesIn(t *testing.T, file string, rules map[string]string) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(e ast.Expr) {
		if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				rules[text] = file
			}
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if strings.HasPrefix(name.Name, "rule") && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok {
				switch {
				case name.Name == "refuse" && len(n.Args) > 1:
					add(n.Args[1])
				case name.Name == "unavailable" && len(n.Args) > 0:
					add(n.Args[0])
				}
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Rule" {
				add(n.Value)
			}
		}
		return true
	})
}
