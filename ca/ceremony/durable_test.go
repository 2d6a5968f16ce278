package ceremony

import (
	"context"
	"crypto"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// noting is a key store that writes to a file when a key is used: a system call, to be
// seen among others.
type noting struct {
	*keyring
	file *os.File
}

func (n noting) note(what string) error {
	_, err := n.file.WriteString(what + "\n")
	return err
}

func (n noting) Create(ctx context.Context, uri, algorithm string) (string, crypto.Signer, error) {
	if err := n.note("making"); err != nil {
		return "", nil, err
	}
	uri, key, err := n.keyring.Create(ctx, uri, algorithm)
	return uri, noted{key, n}, err
}

func (n noting) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	key, err := n.keyring.Signer(ctx, uri, want)
	if err != nil {
		return nil, err
	}
	return noted{key, n}, nil
}

func (n noting) Destroy(ctx context.Context, uri string, want crypto.PublicKey) error {
	if err := n.note("destroying"); err != nil {
		return err
	}
	return n.keyring.Destroy(ctx, uri, want)
}

// noted is a key that notes that it signs.
type noted struct {
	crypto.Signer
	noting noting
}

func (k noted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := k.noting.note("intent"); err != nil {
		return nil, err
	}
	return k.Signer.Sign(rand, digest, opts)
}

// TestJournalIsDurable proves from a trace of system calls that the journal says what a
// key is used for, and was synced, before the key is used: whenever the machine stops,
// what may have been signed is on the medium.
func TestJournalIsDurable(t *testing.T) {
	if dir := os.Getenv("CEREMONY_TRACE"); dir != "" {
		traced(t, dir)
		return
	}
	strace := pkitest.Tool(t, "strace")
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	journal, notes := filepath.Join(dir, "ceremony", fileJournal), filepath.Join(dir, "notes")
	command := exec.Command(strace, "-f", "-y", "-s", "4096", "-o", trace, "-e", "trace=write,pwrite64,fsync,fdatasync", "-P", journal, "-P", notes, os.Args[0], "-test.run", "^TestJournalIsDurable$")
	command.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "CEREMONY_TRACE="+dir)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	call := regexp.MustCompile(`^\d+ +(\w+)\(\d+<([^>]*)>(.*)= (-?\d+)`)
	announced := regexp.MustCompile(`\\"kind\\":\\"(\w+)\\"`)
	resumed := regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	begun := make(map[string]string) // by thread: calls that others came between
	said, synced, used := "", false, 0
	for _, line := range strings.Split(strings.TrimSpace(string(pkitest.ReadFile(t, trace))), "\n") {
		if before, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			thread, _, _ := strings.Cut(line, " ")
			begun[thread] = before
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = begun[m[1]] + m[2]
		}
		m := call.FindStringSubmatch(line)
		switch {
		case m == nil && strings.Contains(line, "+++"), m == nil && strings.Contains(line, "--- SIG"):
		case m == nil:
			t.Fatalf("a line that cannot be read: %s", line)
		case strings.HasSuffix(m[1], "sync"):
			synced = m[2] == journal && m[4] == "0"
		case m[2] == journal:
			synced = false
			if kind := announced.FindStringSubmatch(m[3]); kind != nil {
				said = kind[1]
			}
		case m[2] == notes:
			used++
			if !synced || !strings.Contains(m[3], `"`+said+`\n"`) {
				t.Errorf("the journal says %q (synced: %t) when this happens: %s", said, synced, line)
			}
		}
	}
	if want := 1 + 6 + 1; used != want { // made, signed, destroyed, in everything
		t.Errorf("keys were used %d times, want %d", used, want)
	}
}

func traced(t *testing.T, dir string) {
	notes, err := os.Create(filepath.Join(dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	r := newRoom(t)
	cfg := r.config(t, noting{r.ring(t), notes})
	cfg.Folder = filepath.Join(dir, "ceremony")
	r.hold(t, everything, cfg)
}
