package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxHidden bounds a secret that is typed. A terminal gives no longer lines than that.
const maxHidden = 4096

// errInterrupted says that a person ended a prompt instead of answering it.
var errInterrupted = errors.New("interrupted")

// readHidden asks for a secret on the terminal without echo, or reads one line of
// standard input when that is no terminal, and leaves the lines after it. An empty
// line is refused. The caller wipes what it returns.
func (a *app) readHidden(prompt string) ([]byte, error) {
	f, ok := a.in.(*os.File)
	if !ok {
		return readLine(a.in)
	}
	fd := int(f.Fd())
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil { // no terminal
		return readLine(f)
	}
	return a.askHidden(fd, saved, prompt)
}

// readHiddenTwice is readHidden for a secret that somebody makes up: it asks a second
// time on a terminal, and refuses what differs.
func (a *app) readHiddenTwice(prompt string) ([]byte, error) {
	first, err := a.readHidden(prompt)
	if err != nil || !a.terminal() {
		return first, err
	}
	second, err := a.readHidden(prompt + " (again)")
	defer clear(second)
	if err == nil && !bytes.Equal(first, second) {
		err = errors.New("the two do not agree: nothing was done")
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

// terminal reports whether a person can be asked.
func (a *app) terminal() bool {
	f, ok := a.in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// askHidden reads a line of the terminal fd, whose settings were saved, without echo.
func (a *app) askHidden(fd int, saved *unix.Termios, prompt string) ([]byte, error) {
	// main turns signals into the end of a context, which does not end a read: here
	// they come over a pipe that is waited for together with the terminal.
	wake, ring, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer wake.Close()
	defer ring.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	stop := make(chan struct{})
	defer close(stop)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			ring.Write([]byte{0})
		case <-stop:
		}
	}()

	hidden := *saved
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ECHONL | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	hidden.Cc[unix.VSUSP] = 0 // a suspended prompt would leave the shell without echo
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, fmt.Errorf("turning off the echo of the terminal: %w", err)
	}
	defer unix.IoctlSetTermios(fd, unix.TCSETS, saved)
	if _, err := fmt.Fprintf(a.err, "%s: ", prompt); err != nil {
		return nil, err
	}
	return readLine(&waiting{fd: fd, wake: int(wake.Fd())})
}

// waiting reads a file descriptor until another one can be read.
type waiting struct{ fd, wake int }

func (w *waiting) Read(p []byte) (int, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}, {Fd: int32(w.fd), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case fds[0].Revents != 0:
			return 0, errInterrupted
		}
		n, err := unix.Read(w.fd, p)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// readLine reads up to the end of a line and no further: the next secret may be
// behind it.
func readLine(r io.Reader) (line []byte, err error) {
	buffer := make([]byte, 0, maxHidden)
	defer func() {
		if err != nil {
			clear(buffer[:cap(buffer)])
		}
	}()
	for {
		one := buffer[len(buffer) : len(buffer)+1 : cap(buffer)]
		n, err := r.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				break
			}
			if len(buffer)+1 == cap(buffer) {
				return nil, fmt.Errorf("the line is longer than %d bytes", maxHidden-1)
			}
			buffer = buffer[:len(buffer)+1]
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading what was typed: %w", err)
		}
	}
	line = bytes.TrimSuffix(buffer, []byte("\r"))
	if len(line) == 0 {
		return nil, errors.New("nothing was entered")
	}
	return line, nil
}
