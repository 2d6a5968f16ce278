package station

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// speeds are the rates that a port can be set to. Linux, termbits.h.
var speeds = map[int]uint32{
	1200: unix.B1200, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400,
	57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800, 921600: unix.B921600,
	1000000: unix.B1000000, 1500000: unix.B1500000, 2000000: unix.B2000000, 3000000: unix.B3000000,
}

// writeLimit bounds how long a line may take to leave: a port whose flow is stopped
// must not stop the station.
const writeLimit = 5 * time.Second

// serialPort is a port of Linux, raw: 8 bits, no parity, one stop bit, no flow control.
type serialPort struct{ fd int }

// openPort opens a serial port for this process alone.
func openPort(name string, baud int) (port, error) {
	speed, ok := speeds[baud]
	if !ok {
		return nil, fmt.Errorf("a serial port has no rate of %d baud", baud)
	}
	// Without waiting for a carrier, and never as the terminal that controls this process.
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		hint := ""
		if errors.Is(err, unix.EACCES) {
			hint = ": is this user in the group that owns it, often dialout?"
		}
		return nil, fmt.Errorf("opening the serial port %s: %w%s", name, err, hint)
	}
	p := &serialPort{fd}
	if err := p.set(speed); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the serial port %s: %w", name, err), p.Close())
	}
	return p, nil
}

func (p *serialPort) set(speed uint32) error {
	// Flock as well as TIOCEXCL, which root passes.
	if err := unix.Flock(p.fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("another program has it open")
		}
		return fmt.Errorf("locking it: %w", err)
	}
	t, err := unix.IoctlGetTermios(p.fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("it is not a serial port: %w", err)
	}
	// cfmakeraw(3), and the line itself.
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.IXOFF
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB | unix.CSTOPB | unix.CRTSCTS | unix.CBAUD
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL | speed
	t.Ispeed, t.Ospeed = speed, speed
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 0, 0
	if err := unix.IoctlSetTermios(p.fd, unix.TCSETS, t); err != nil {
		return err
	}
	// What came before anybody listened.
	return unix.IoctlSetInt(p.fd, unix.TCFLSH, unix.TCIFLUSH)
}

func (p *serialPort) Read(b []byte, wait time.Duration) (int, error) {
	ready, err := p.poll(unix.POLLIN, wait)
	if !ready || err != nil {
		return 0, err
	}
	n, err := unix.Read(p.fd, b)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading: %w", err)
	case n == 0:
		return 0, io.ErrUnexpectedEOF // pulled out
	}
	return n, nil
}

func (p *serialPort) Write(b []byte) error {
	deadline := time.Now().Add(writeLimit)
	for len(b) > 0 {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("writing: %w", os.ErrDeadlineExceeded)
		}
		ready, err := p.poll(unix.POLLOUT, left)
		if err != nil {
			return err
		}
		if !ready {
			continue
		}
		n, err := unix.Write(p.fd, b)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("writing: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}

func (p *serialPort) poll(events int16, wait time.Duration) (bool, error) {
	list := []unix.PollFd{{Fd: int32(p.fd), Events: events}}
	n, err := unix.Poll(list, int(max(wait.Milliseconds(), 1)))
	switch {
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("waiting: %w", err)
	case n > 0 && list[0].Revents&events == 0:
		return false, io.ErrUnexpectedEOF // POLLHUP, POLLERR: pulled out
	}
	return n > 0, nil
}

func (p *serialPort) Close() error { return unix.Close(p.fd) }
