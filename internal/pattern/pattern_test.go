package pattern_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"mintmark/internal/pattern"
)

func TestPattern(t *testing.T) {
	p := pattern.New(`^a(b+)`)
	if !p.MatchString("abb") || p.MatchString("b") || p.String() != `^a(b+)` || p.FindString("abc") != "ab" {
		t.Error("does not match as the regular expression does")
	}
	if m := p.FindStringSubmatch("abb"); len(m) != 2 || m[1] != "bb" {
		t.Errorf("%q", m)
	}
	if m := pattern.New(`b`).FindAllStringSubmatch("abb", -1); len(m) != 2 {
		t.Errorf("%q", m)
	}
	if s := pattern.New(`b`).ReplaceAllStringFunc("abb", strings.ToUpper); s != "aBB" {
		t.Error(s)
	}
}

// TestAllCompile finds every pattern of the program in its source and compiles it.
func TestAllCompile(t *testing.T) {
	root := filepath.Join("..", "..")
	found := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && strings.HasPrefix(e.Name(), ".") && len(e.Name()) > 2 {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(path, filepath.Join(root, "internal", "pattern")) {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(source, []byte("pattern.New(")) {
			return err
		}
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, path, source, parser.SkipObjectResolution)
		if err != nil {
			return nil // not the business of this test
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "New" {
				return true
			}
			if x, ok := s.X.(*ast.Ident); !ok || x.Name != "pattern" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a pattern that is not written out", positions.Position(call.Pos()))
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err == nil {
				_, err = regexp.Compile(text)
			}
			if err != nil {
				t.Errorf("%s: %v", positions.Position(call.Pos()), err)
			}
			found++
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 50 {
		t.Errorf("only %d patterns found", found)
	}
}
