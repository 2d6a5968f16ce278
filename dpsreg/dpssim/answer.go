package dpssim

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// answer is what a call is answered. Answers are values; with returns a changed copy.
type answer struct {
	status int
	header [][2]string
	body   any // encoded as JSON; nil for none
}

// ok is an answer of status 200.
func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

// with adds a header.
func (a answer) with(name, value string) answer {
	a.header = append(a.header[:len(a.header):len(a.header)], [2]string{name, value})
	return a
}

// encode returns the body as it goes out.
func (a answer) encode() ([]byte, error) {
	if a.body == nil {
		return nil, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a.body); err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (a answer) write(w http.ResponseWriter) {
	body, err := a.encode()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if a.body != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	for _, h := range a.header {
		w.Header().Set(h[0], h[1])
	}
	w.WriteHeader(a.status)
	w.Write(body)
}

// dpsError is an error of the data plane and of the device API: body and header
// x-ms-error-code (https://learn.microsoft.com/azure/iot-dps/how-to-troubleshoot-dps).
func (s *Sim) dpsError(status, code int, message string) answer {
	return answer{status: status, body: map[string]any{
		"errorCode": code, "trackingId": newGUID(), "message": message, "timestampUtc": utc(s.now()),
	}}.with("x-ms-error-code", strconv.Itoa(code))
}

// tooMany is the answer to a call over the rate: 429 with Retry-After
// (https://learn.microsoft.com/azure/iot-dps/how-to-troubleshoot-dps).
func (s *Sim) tooMany(refuse refusal, code int) answer {
	return refuse(http.StatusTooManyRequests, code, "Operations are being throttled by the service.").
		with("Retry-After", strconv.Itoa(s.cfg.RetryAfter))
}

// readBody reads the body of a request, at most maxBody bytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return b, nil
}

// utc writes a time as the data plane does.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// newGUID makes a random one, version 4 (RFC 9562, section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
