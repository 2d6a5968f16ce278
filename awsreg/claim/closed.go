package claim

import (
	"errors"
	"io"
	"strings"
	"syscall"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Cause is the error of an MQTT operation without the words that the MQTT client
// puts before each error of the network.
func Cause(err error) error {
	if !errors.Is(err, packets.ErrorNetworkError) {
		return err
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	for _, cause := range joined.Unwrap() {
		if cause != nil && !errors.Is(cause, packets.ErrorNetworkError) {
			return cause
		}
	}
	return err
}

// Closed reports whether the other side ended a connection that stood, as AWS does
// without a word to a certificate that it does not let in. A connection that never
// stood is none.
func Closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, mqtt.ErrNotConnected) || err != nil && strings.HasSuffix(err.Error(), errLostByClient)
}

// errLostByClient is how the MQTT client words the loss of a connection in the
// middle of an operation; it has no error value for it.
const errLostByClient = "connection lost before Publish completed"
