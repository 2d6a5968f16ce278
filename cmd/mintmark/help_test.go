package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// output runs a command line in this process.
func output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &app{in: strings.NewReader(""), out: &out, err: &out})
	return out.String(), err
}

// walk calls fn for every command that users see.
func walk(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			walk(sub, fn)
		}
	}
}

func TestHelp(t *testing.T) {
	root := newRoot(&app{})
	walk(root, func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.Contains(c.Short, "\n") {
				t.Errorf("summary %q is not one line without a full stop", c.Short)
			}
			if c.Long == "" {
				t.Error("does not say what it does")
			}
			help, err := output(t, append(strings.Fields(c.CommandPath())[1:], "--help")...)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(help, "\n") {
				if n := len([]rune(line)); n > helpWidth && !unbreakable(line) && !strings.Contains(c.CommandPath(), " completion ") { // cobra's own words
					t.Errorf("a line of %d columns, more than a terminal has: %s", n, line)
				}
			}
			if !strings.Contains(help, "Examples:\n") {
				t.Errorf("help has no examples:\n%s", help)
			}
		})
	})
}

// unbreakable reports whether a line is long because of one word in it.
func unbreakable(line string) bool {
	for _, word := range strings.Fields(line) {
		if len(word) > helpWidth-len("    --fault   \\") {
			return true
		}
	}
	return false
}

func TestFoldExamples(t *testing.T) {
	for text, want := range map[string]string{
		"  mintmark ca list":                   "  mintmark ca list\n",
		"  mintmark a --one 1 \\\n    --two 2": "  mintmark a --one 1 --two 2\n",
		`  mintmark ca create --name line2-root --common-name "Line 2 Root" --validity 20y --yes --dir ./factory`: `  mintmark ca create --name line2-root --common-name "Line 2 Root" \
    --validity 20y --yes --dir ./factory
`,
	} {
		if got := foldExamples(text); got != want {
			t.Errorf("%q was folded as %q", text, got)
		}
	}
}

// piped is a pipe at the end of a line, which goes on in the next one.
var piped = regexp.MustCompile(`\s*\|\s*\n\s*`)

// cutLast is strings.Cut at the last separator; without one all is after it.
func cutLast(text, separator string) (before, after string) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):]
	}
	return "", text
}

// TestExamples holds the command lines of all examples against the commands:
// each one names a command, flags that it has, and arguments that it takes.
func TestExamples(t *testing.T) {
	walk(newRoot(&app{}), func(c *cobra.Command) {
		joined := continued.ReplaceAllString(c.Example, " ")
		joined = piped.ReplaceAllString(joined, " | ")
		for _, line := range strings.Split(joined, "\n") {
			line = strings.TrimSpace(line)
			if strings.Contains(line, "<(") {
				continue // a shell's own syntax
			}
			// What comes before a pipe is another command's.
			before, line := cutLast(line, " | ")
			t.Run(line, func(t *testing.T) {
				words := split(line)
				if len(words) < 2 || words[0] != "mintmark" {
					t.Fatal("is not a command line of mintmark")
				}
				if before != "" {
					other, rest, err := newRoot(&app{}).Find(split(before)[1:])
					if err == nil {
						err = other.ParseFlags(rest)
					}
					if err == nil {
						err = other.ValidateArgs(other.Flags().Args())
					}
					if err != nil || !strings.HasPrefix(before, "mintmark ") {
						t.Errorf("before the pipe: %v", err)
					}
				}
				root := newRoot(&app{})
				found, rest, err := root.Find(words[1:])
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(found.CommandPath(), c.CommandPath()) && c.Name() != "help" {
					t.Errorf("is an example of %s", found.CommandPath())
				}
				if err := found.ParseFlags(rest); err != nil {
					t.Fatal(err)
				}
				if err := found.ValidateRequiredFlags(); err != nil {
					t.Error(err)
				}
				if err := found.ValidateFlagGroups(); err != nil {
					t.Error(err)
				}
				if err := found.ValidateArgs(found.Flags().Args()); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// split takes a line apart the way a shell does, as far as examples need it.
func split(line string) []string {
	var words []string
	var word strings.Builder
	quoted, started := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, started = !quoted, true
		case r == ' ' && !quoted:
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		script, err := output(t, "completion", shell)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(script, "mintmark") || len(script) < 1000 {
			t.Errorf("%s: no completion script:\n%s", shell, script)
		}
	}
	words, err := output(t, "__complete", "ca", "cr")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(words, "create\t") || !strings.Contains(words, "crl\t") {
		t.Errorf("ca cr completes to %q", words)
	}
}

// TestNoSecretFlags: whatever stands on a command line can be read by every
// user of the host. Flags about secrets name files.
func TestNoSecretFlags(t *testing.T) {
	walk(newRoot(&app{}), func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			for _, word := range []string{"secret", "password", "passphrase"} {
				if strings.Contains(f.Name, word) && !strings.HasSuffix(f.Name, "-file") && !strings.HasSuffix(f.Name, "-out") && f.Value.Type() != "bool" {
					t.Errorf("%s takes --%s", c.CommandPath(), f.Name)
				}
			}
		})
		for _, word := range []string{"SECRET", "PASSWORD"} {
			if strings.Contains(c.Use, word) {
				t.Errorf("%s takes a secret as an argument", c.Use)
			}
		}
	})
}
