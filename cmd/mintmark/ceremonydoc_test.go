package main

import (
	"fmt"
	"mintmark/ca/ceremony"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	docTime   = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	docBegins = regexp.MustCompile(`(?:from|this_update): (\S+)`)
	docSerial = regexp.MustCompile(`serial: ([0-9a-f]+)`)
	docFile   = regexp.MustCompile("`([a-z]+\\.yaml)`")
	docPrompt = regexp.MustCompile(`^(online|offline)\$ (.*)$`)
	docRun    = regexp.MustCompile(`^mintmark ceremony run (\S+)`)
	docPaper  = regexp.MustCompile(`--hash [0-9a-f]{64}`)
)

// TestCeremonyFieldsAreDocumented holds the fields of a ceremony file against docs/ceremony.md.
func TestCeremonyFieldsAreDocumented(t *testing.T) {
	content, err := os.ReadFile("../../docs/ceremony.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(content), "\n## The file\n")
	text, _, _ = strings.Cut(text, "\n## Worked example\n")
	quoted := make(map[string]bool)
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		for _, word := range regexp.MustCompile(`[a-zA-Z0-9_]+`).FindAllString(m[1], -1) {
			quoted[word] = true
		}
	}
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		// Tokens are written as in the configuration, where their fields are documented.
		if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() || of == reflect.TypeFor[ceremony.Token]() || seen[of] {
			return
		}
		seen[of] = true
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("yaml"), ",")
			if name != "" && !quoted[name] {
				t.Errorf("%s of %s is not in docs/ceremony.md", name, of)
			}
			walk(of.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[ceremony.File]())
	if len(seen) < 10 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}

// scriptCondition knows [netns]: whether commands can run without a network here. Where tools
// are required they must.
func scriptCondition(name string) (bool, error) {
	if name != "netns" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	err := exec.Command("unshare", "-n", "true").Run()
	if err != nil && os.Getenv("MINTMARK_TOOLS") == "required" {
		return false, fmt.Errorf("making a network namespace, which is required here: %w", err)
	}
	return err == nil, nil
}

// walkThrough does what the worked example of a document says: walkthrough FILE. Commands behind
// online$ run in the folder online, those behind offline$ in the folder offline and without a
// network; ceremony files are written to the folder stick, with the times, digests and serial number of today.
// Whoever types hash and passphrase is a flag here, and the hash of the paper is that of the last file.
func walkThrough(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: walkthrough file")
	}
	content, err := os.ReadFile(filepath.Join(ts.Getenv("REPO"), args[0]))
	ts.Check(err)
	_, text, ok := strings.Cut(string(content), "\n## Worked example\n")
	if !ok {
		ts.Fatalf("%s has no worked example", args[0])
	}
	text, _, _ = strings.Cut(text, "\n### ")
	w := &walked{ts: ts}
	w.name = "none.yaml"
	commands, ceremonies := 0, 0
	lines := strings.Split(strings.ReplaceAll(text, "\\\n", ""), "\n")
	for i := 0; i < len(lines); i++ {
		line, indented := strings.CutPrefix(lines[i], "    ")
		switch {
		case !indented:
			if m := docFile.FindStringSubmatch(line); m != nil {
				w.name = m[1]
			}
		case docPrompt.MatchString(line):
			m := docPrompt.FindStringSubmatch(line)
			w.run(m[1], m[2])
			commands++
		case line == "ceremony: 1":
			var file []string
			for ; i < len(lines) && strings.HasPrefix(lines[i], "    "); i++ {
				file = append(file, lines[i][4:])
			}
			w.write(strings.Join(file, "\n") + "\n")
			ceremonies++
		default:
			ts.Fatalf("%s: a line that is neither a command nor a ceremony file: %s", args[0], line)
		}
	}
	if commands < 15 || ceremonies != 2 {
		ts.Fatalf("%s has %d commands and %d ceremony files", args[0], commands, ceremonies)
	}
}

// walked is a worked example on its way.
type walked struct {
	ts   *testscript.TestScript
	name string // of the ceremony file that is written next
}

func (w *walked) stick(name string) string { return w.ts.MkAbs(filepath.Join("stick", name)) }

// write writes a ceremony file whose first period began half an hour ago.
func (w *walked) write(text string) {
	begins := docBegins.FindStringSubmatch(text)
	if begins == nil {
		w.ts.Fatalf("the ceremony file has no beginning:\n%s", text)
	}
	first, err := time.Parse(time.RFC3339, begins[1])
	w.ts.Check(err)
	shift := time.Now().UTC().Truncate(time.Second).Add(-30 * time.Minute).Sub(first)
	text = docTime.ReplaceAllStringFunc(text, func(s string) string {
		at, err := time.Parse(time.RFC3339, s)
		w.ts.Check(err)
		return at.Add(shift).Format(time.RFC3339)
	})
	text = pinLine.ReplaceAllStringFunc(text, func(found string) string {
		m := pinLine.FindStringSubmatch(found)
		sum, err := inputDigest(w.stick(m[2]))
		w.ts.Check(err)
		return m[1] + sum
	})
	text = docSerial.ReplaceAllStringFunc(text, func(string) string {
		list, err := readCertificates(w.stick("root-2026/outputs/old-with-new.pem"))
		w.ts.Check(err)
		return fmt.Sprintf("serial: %x", list[0].SerialNumber)
	})
	w.ts.Check(os.WriteFile(w.stick(w.name), []byte(text), 0o644))
}

// run runs a command of the document, which must succeed.
func (w *walked) run(where, command string) {
	if m := docRun.FindStringSubmatch(command); m != nil {
		command += fmt.Sprintf(" --hash $(sha256sum %s | cut -c1-64) --passphrase-file /media/safe/passphrase", m[1])
	}
	if docPaper.MatchString(command) {
		sum, err := inputDigest(w.stick(w.name))
		w.ts.Check(err)
		command = docPaper.ReplaceAllString(command, "--hash "+sum)
	}
	for _, medium := range []string{"stick", "alice", "bob", "safe"} {
		command = strings.ReplaceAll(command, "/media/"+medium, w.ts.MkAbs(medium))
	}
	words := []string{"sh", "-ec", command}
	if where == "offline" {
		words = append([]string{"unshare", "-n"}, words...)
	}
	c := exec.Command(words[0], words[1:]...)
	c.Dir = w.ts.MkAbs(where)
	c.Env = append(os.Environ(), "HOME="+w.ts.Getenv("HOME"))
	out, err := c.CombinedOutput()
	w.ts.Logf("%s$ %s\n%s", where, command, out)
	if err != nil {
		w.ts.Fatalf("%s$ %s: %v\n%s", where, command, err, out)
	}
}
