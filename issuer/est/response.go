package est

import (
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The media types of answers, in exactly this spelling: clients compare them as
// strings.
const (
	mediaTypeCACerts   = "application/pkcs7-mime"
	mediaTypeCertsOnly = "application/pkcs7-mime; smime-type=certs-only"
)

// response is an answer: either DER to be sent as base64, or a body as it is.
type response struct {
	status      int
	contentType string
	der         []byte
	body        []byte
	secret      bool // the body is overwritten once it is sent
}

// send writes an answer with its length and in one write. Chunked answers, and
// answers in several TLS records of different sizes, lose libest, strongSwan
// and BouncyCastle.
func (x *exchange) send(a response) {
	header := x.w.Header()
	if a.der != nil {
		a.body = encodeBase64(a.der, x.r.UserAgent())
		// RFC 8951, Section 3 tells clients to ignore it, and RFC 7030 told
		// them to look for it: older ones still do.
		header.Set("Content-Transfer-Encoding", "base64")
	}
	if a.contentType != "" {
		header.Set("Content-Type", a.contentType)
	} else {
		header["Content-Type"] = nil // nothing to sniff
	}
	// RFC 9110, Section 8.6: no Content-Length with 204.
	if a.status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	x.w.WriteHeader(a.status)
	if len(a.body) > 0 && x.r.Method != http.MethodHead {
		// An error means that the client has gone: nobody is left to tell.
		_, err := x.w.Write(a.body)
		x.unsent = err != nil
	}
	if a.secret {
		clear(a.body)
	}
}

// encodeBase64 writes one line without a newline, because strongSwan decodes
// no other; but lines of 64 ended by LF for libest, whose decoder reads lines.
func encodeBase64(der []byte, userAgent string) []byte {
	line := base64.StdEncoding.AppendEncode(nil, der)
	if !strings.HasPrefix(userAgent, "libest") {
		return line
	}
	wrapped := make([]byte, 0, len(line)+len(line)/64+1)
	for len(line) > 0 {
		n := min(64, len(line))
		wrapped = append(append(wrapped, line[:n]...), '\n')
		line = line[n:]
	}
	return wrapped
}

// retryAfter is a delay in whole seconds, up to a quarter longer than asked
// for, so that a line of devices does not come back all at once.
func retryAfter(d time.Duration) int {
	if d <= 0 {
		d = defaultRetry
	}
	seconds := int((d + time.Second - 1) / time.Second)
	return seconds + rand.IntN(seconds/4+2)
}
