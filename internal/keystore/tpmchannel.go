package keystore

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// tpmWithin bounds one command to a TPM. A signature is a few of them.
const tpmWithin = 10 * time.Second

// tpmChannel carries commands to a TPM: a device of the kernel, or the socket of an
// emulator. Used by one goroutine at a time. After a failure the next command opens
// it anew.
type tpmChannel struct {
	path string
	conn tpmConn
	kept bool // between commands
}

type tpmConn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// Write sends a command, which is all of p.
func (c *tpmChannel) Write(p []byte) (int, error) {
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return 0, err
		}
	}
	// A device knows no deadlines: the kernel's are all there are.
	if err := c.conn.SetDeadline(time.Now().Add(tpmWithin)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return 0, c.fail(err)
	}
	n, err := c.conn.Write(p)
	if err != nil {
		return n, c.fail(err)
	}
	return n, nil
}

// Read receives the answer to the command.
func (c *tpmChannel) Read(p []byte) (int, error) {
	if c.conn == nil {
		return 0, errors.New("no command was sent to the TPM")
	}
	n, err := c.conn.Read(p)
	if err != nil {
		return n, c.fail(err)
	}
	if !c.kept {
		c.Close()
	}
	return n, nil
}

func (c *tpmChannel) dial() error {
	info, err := os.Stat(c.path)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		// An emulator serves one connection at a time: kept open, it would keep
		// others out.
		conn, err := net.DialTimeout("unix", c.path, tpmWithin)
		if err != nil {
			return err
		}
		c.conn, c.kept = conn, false
	case mode&os.ModeCharDevice != 0:
		// What is loaded into the TPM through a file descriptor is only seen through
		// it, and is gone with it.
		// Not with os.OpenFile, which makes it non-blocking: the kernel then answers a
		// read that comes too early with no bytes, as at the end of a file (Linux,
		// drivers/char/tpm/tpm-dev-common.c).
		fd, err := syscall.Open(c.path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: c.path, Err: err}
		}
		c.conn, c.kept = os.NewFile(uintptr(fd), c.path), true
	default:
		return fmt.Errorf("%s is neither a device nor a socket", c.path)
	}
	return nil
}

// fail closes the channel.
func (c *tpmChannel) fail(err error) error {
	c.Close()
	return err
}

// Close closes what is open. The channel can be used again.
func (c *tpmChannel) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// MeasurementLog is asked for by nobody who signs.
func (c *tpmChannel) MeasurementLog() ([]byte, error) { return nil, nil }
