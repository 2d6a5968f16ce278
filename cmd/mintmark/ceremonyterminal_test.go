package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"mintmark/ca/ceremony"
)

// TestCeremonyAtATerminal holds a ceremony as people do: the hash is typed in groups after a slip, and
// the passphrase twice without echo.
func TestCeremonyAtATerminal(t *testing.T) {
	r := newCeremonyRoom(t)
	text := strings.Replace(pin(t, example(t, "root"), r.dir), "network: none", "network: allowed", 1)
	r.write(t, "root.yaml", text, 0o644)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	person, terminal := pty(t)
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"ceremony", "run", r.path("root.yaml"), "--keys", r.path("keys"), "--out", r.path("out"),
			"--officer", "alice=" + r.path("alice.key"), "--officer", "bob=" + r.path("bob.key")}, &app{in: terminal, out: terminal, err: terminal})
	}()
	types := func(line string) {
		t.Helper()
		if _, err := fmt.Fprintln(person, line); err != nil {
			t.Fatal(err)
		}
	}
	shown := await(t, person, "in any groups:\r\n")
	if !strings.Contains(shown, "Step 1, root: make a key and a root certificate") {
		t.Errorf("it asks before it has said what will be done: %s", shown)
	}
	types(strings.Repeat("0123 ", 16))
	await(t, person, "type it again.\r\n")
	await(t, person, "in any groups:\r\n")
	types(ceremony.Groups(sum)) // two lines
	await(t, person, "Passphrase for the key files, at least 8 characters: ")
	if _, err := os.Stat(r.path("out")); !os.IsNotExist(err) {
		t.Errorf("something was made before the last answer: %v", err)
	}
	types("correct horse battery staple")
	await(t, person, "(again): ")
	types("correct horse battery staple")
	shown = await(t, person, "on another machine\r\n")
	if strings.Contains(shown, "correct") || !strings.Contains(shown, "certificate of CN=Example Works Root CA") {
		t.Errorf("the end shows %s", shown)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	report, err := ceremony.Verify(r.path("out"), ceremony.Trust{})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("left behind is %v, %v", report, err)
	}
}

// TestCeremonyShortPassphrase: a passphrase that no key file can be encrypted with ends a ceremony
// before it has begun.
func TestCeremonyShortPassphrase(t *testing.T) {
	r := newCeremonyRoom(t)
	text := strings.Replace(pin(t, example(t, "root"), r.dir), "network: none", "network: allowed", 1)
	r.write(t, "root.yaml", text, 0o644)
	person, terminal := pty(t)
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"ceremony", "run", r.path("root.yaml"), "--keys", r.path("keys"), "--out", r.path("out"), "--hash", fmt.Sprintf("%x", sha256.Sum256([]byte(text))),
			"--officer", "alice=" + r.path("alice.key"), "--officer", "bob=" + r.path("bob.key")}, &app{in: terminal, out: terminal, err: terminal})
	}()
	for _, prompt := range []string{"8 characters: ", "(again): "} {
		await(t, person, prompt)
		if _, err := fmt.Fprintln(person, "seven77"); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "shorter than 8 characters: nothing was done") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(r.path("out")); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
}

// TestCeremonyWrongHashTyped: after the third slip nothing is done.
func TestCeremonyWrongHashTyped(t *testing.T) {
	r := newCeremonyRoom(t)
	r.write(t, "root.yaml", strings.Replace(pin(t, example(t, "root"), r.dir), "network: none", "network: allowed", 1), 0o644)
	person, terminal := pty(t)
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"ceremony", "run", r.path("root.yaml"), "--keys", r.path("keys"), "--out", r.path("out"), "--passphrase-file", r.path("passphrase"),
			"--officer", "alice=" + r.path("alice.key"), "--officer", "bob=" + r.path("bob.key")}, &app{in: terminal, out: terminal, err: terminal})
	}()
	for range hashTries {
		await(t, person, "in any groups:\r\n")
		if _, err := fmt.Fprintf(person, "%064x\n", 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("got %v", err)
	}
	for _, made := range []string{"out", "keys"} {
		if _, err := os.Stat(r.path(made)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", made, err)
		}
	}
}
