// Package kit writes what a device needs to connect to AWS IoT Core: its
// certificate with the chain, Amazon's root certificates, the endpoint, and
// programs for the usual clients that run as they are.
//
// It exists because the first connection of a device fails for reasons that its
// client does not tell: the CA's certificate was not sent along, the server name
// was missing, the client id is not the thing's name. A kit has all of it right.
// It never holds a private key: that is the device's, and the programs name the
// file where it is.
package kit

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// Kit is what a kit is made of.
type Kit struct {
	Device string // mintmark's identifier of the device; must be set
	Thing  string // name of its thing, and its client id; Device if empty
	// Certificate is the device's certificate in PEM; must be set. Chain are the
	// CAs from the one that signed it upwards; just-in-time registration needs at
	// least that one. Empty if AWS knows the certificate already.
	Certificate []byte
	Chain       []byte
	// Endpoint is the host name of the account's data endpoint (iot:Data-ATS). A
	// simulator's has a port, and is then the only one. Must be set.
	Endpoint string
	// Roots are the trust anchors of the endpoint in PEM; Amazon's if empty.
	Roots []byte
	// Topic is where the programs say hello; "devices/<Thing>/hello" if empty.
	Topic string
	// Key is the file of the device's private key, as the programs name it;
	// "device.key" if empty.
	Key string
	// Now is when the kit is made; the present if zero.
	Now time.Time
}

var (
	thingName  = pattern.New(`^[a-zA-Z0-9:_-]{1,128}$`)
	deviceName = pattern.New(`^[[:print:]]{1,256}$`)
	hostName   = pattern.New(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?$`)
	topicName  = pattern.New(`^[a-zA-Z0-9:._/-]{1,256}$`)
	// fileName has nothing in it that a shell, C, Python or JavaScript would read
	// otherwise.
	fileName = pattern.New(`^[a-zA-Z0-9/._][a-zA-Z0-9/._-]{0,255}$`)
)

// withDefaults fills in what is empty, and refuses what would not work or could
// mean something else in a program.
func (k Kit) withDefaults() (Kit, error) {
	if k.Thing == "" {
		k.Thing = k.Device
	}
	if k.Topic == "" {
		k.Topic = "devices/" + k.Thing + "/hello"
	}
	if k.Key == "" {
		k.Key = "device.key"
	}
	if k.Now.IsZero() {
		k.Now = time.Now()
	}
	if len(k.Roots) == 0 {
		k.Roots = amazonRoots
	}
	switch {
	case !deviceName.MatchString(k.Device):
		return k, fmt.Errorf("device %q has no name that could be printed", k.Device)
	case !thingName.MatchString(k.Thing):
		return k, fmt.Errorf("thing %q: names of things are 1 to 128 letters, digits and : _ -", k.Thing)
	case !topicName.MatchString(k.Topic):
		return k, fmt.Errorf("topic %q has other characters than letters, digits and : . _ / -", k.Topic)
	case !fileName.MatchString(k.Key):
		return k, fmt.Errorf("key file %q has other characters than letters, digits and / . _ -", k.Key)
	}
	_, _, err := k.address()
	return k, err
}

// address splits the endpoint; the port is 0 unless it is a simulator's.
func (k Kit) address() (host string, port int, err error) {
	host = k.Endpoint
	if strings.Contains(host, ":") {
		var text string
		if host, text, err = net.SplitHostPort(k.Endpoint); err != nil {
			return "", 0, fmt.Errorf("endpoint %q is neither a host name nor host:port", k.Endpoint)
		}
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
			return "", 0, fmt.Errorf("endpoint %q has no port between 1 and 65535", k.Endpoint)
		}
	}
	if k.Endpoint == "" {
		return "", 0, errors.New("no endpoint is given")
	}
	if !hostName.MatchString(host) {
		return "", 0, fmt.Errorf("endpoint %q is no host name", k.Endpoint)
	}
	return host, port, nil
}
