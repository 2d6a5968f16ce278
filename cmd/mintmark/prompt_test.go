package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty returns both sides of a pseudo terminal.
func pty(t *testing.T) (person, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	person = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return person, terminal
}

// await reads what the terminal shows until it ends in words.
func await(t *testing.T, person io.Reader, words string) string {
	t.Helper()
	var shown strings.Builder
	one := make([]byte, 1)
	for !strings.HasSuffix(shown.String(), words) {
		if _, err := person.Read(one); err != nil {
			t.Fatalf("the terminal showed %q and then %v", shown.String(), err)
		}
		shown.Write(one)
	}
	return shown.String()
}

type asked struct {
	secret []byte
	err    error
}

// ask runs a prompt on a terminal of its own.
func ask(t *testing.T, fn func(*app) ([]byte, error)) (person, terminal *os.File, result chan asked) {
	t.Helper()
	person, terminal = pty(t)
	result = make(chan asked, 1)
	a := &app{in: terminal, out: io.Discard, err: terminal}
	go func() {
		secret, err := fn(a)
		result <- asked{secret, err}
	}()
	return person, terminal, result
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

func TestReadHidden(t *testing.T) {
	person, terminal, result := ask(t, func(a *app) ([]byte, error) { return a.readHidden("PIN of token factory") })
	await(t, person, "PIN of token factory: ")
	person.WriteString("98x\x7f7654\n") // the terminal's own editing works
	got := <-result
	if got.err != nil || string(got.secret) != "987654" {
		t.Fatalf("%q, %v", got.secret, got.err)
	}
	if !echoes(t, terminal) {
		t.Error("the terminal was left without echo")
	}
	fmt.Fprint(terminal, "END")
	if shown := await(t, person, "END"); strings.ContainsAny(shown, "987654") {
		t.Errorf("the terminal showed %q", shown)
	}
}

func TestReadHiddenTwice(t *testing.T) {
	for second, want := range map[string]string{"correct horse": "", "correct house": "do not agree"} {
		person, _, result := ask(t, func(a *app) ([]byte, error) { return a.readHiddenTwice("passphrase") })
		await(t, person, "passphrase: ")
		person.WriteString("correct horse\n")
		await(t, person, "passphrase (again): ")
		person.WriteString(second + "\n")
		got := <-result
		if want == "" && (got.err != nil || string(got.secret) != "correct horse") {
			t.Errorf("%q, %v", got.secret, got.err)
		}
		if want != "" && (got.err == nil || !strings.Contains(got.err.Error(), want) || got.secret != nil) {
			t.Errorf("%q, %v", got.secret, got.err)
		}
	}
}

// A signal ends the prompt, although main takes signals for its context.
func TestReadHiddenInterrupted(t *testing.T) {
	person, terminal, result := ask(t, func(a *app) ([]byte, error) { return a.readHidden("PIN") })
	await(t, person, "PIN: ")
	if echoes(t, terminal) {
		t.Error("the terminal echoes while it asks")
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := <-result; !errors.Is(got.err, errInterrupted) || got.secret != nil {
		t.Errorf("%q, %v", got.secret, got.err)
	}
	if !echoes(t, terminal) {
		t.Error("the terminal was left without echo")
	}
}

func TestReadHiddenFromInput(t *testing.T) {
	a := &app{in: strings.NewReader("first\r\nsecond\nthird"), err: io.Discard}
	for _, want := range []string{"first", "second", "third"} {
		got, err := a.readHiddenTwice("secret") // from a file nobody mistypes
		if err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	for input, want := range map[string]string{
		"": "nothing was entered", "\nx": "nothing was entered", "\r\n": "nothing was entered",
		strings.Repeat("x", maxHidden) + "\n": "longer than",
	} {
		a := &app{in: strings.NewReader(input), err: io.Discard}
		if got, err := a.readHidden("secret"); err == nil || !strings.Contains(err.Error(), want) || got != nil {
			t.Errorf("%.10q: %q, %v", input, got, err)
		}
	}
}
