//go:build !linux

package station

import (
	"fmt"
	"runtime"
)

// openPort says that there is none here.
func openPort(name string, _ int) (port, error) {
	return nil, fmt.Errorf("opening the serial port %s: serial lines are for Linux, and this is %s: use device.commands with a program that speaks to the port", name, runtime.GOOS)
}
