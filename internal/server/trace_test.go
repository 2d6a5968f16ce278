package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mintmark/internal/cms"
	"mintmark/internal/pkitest"
)

// syscallOf is one system call of a trace. It begins and ends at the lines of
// these numbers: calls of other threads may lie in between.
type syscallOf struct {
	name       string
	file       string // what the first argument is a descriptor of
	data       []byte // what was written
	result     int
	begin, end int
}

var (
	traceWhole   = regexp.MustCompile(`^(\d+) +[\d:.]+ (\w+)\((.*)\) += (-?\d+|\?)`)
	traceBegin   = regexp.MustCompile(`^(\d+) +[\d:.]+ (\w+)\((.*) <(?:unfinished|detached) \.\.\.>$`)
	traceResumed = regexp.MustCompile(`^(\d+) +[\d:.]+ <\.\.\. (\w+) resumed>.*\) += (-?\d+|\?)`)
	traceFile    = regexp.MustCompile(`^\d+<(.*?)>(?:[,)]|$)`)
	traceData    = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`)
)

// parseTrace reads what strace -f -tt -yy -xx has written, in the order in
// which the calls began.
func parseTrace(trace string) []syscallOf {
	var calls []syscallOf
	open := make(map[string]int) // thread to its unfinished call
	start := func(n int, name, args string) syscallOf {
		c := syscallOf{name: name, begin: n}
		if m := traceFile.FindStringSubmatch(args); m != nil {
			c.file = unhex(m[1])
		}
		if m := traceData.FindStringSubmatch(args); m != nil {
			c.data = []byte(unhex(m[1]))
		}
		return c
	}
	for n, line := range strings.Split(trace, "\n") {
		if m := traceWhole.FindStringSubmatch(line); m != nil {
			c := start(n, m[2], m[3])
			c.end = n
			c.result, _ = strconv.Atoi(m[4])
			calls = append(calls, c)
		} else if m := traceBegin.FindStringSubmatch(line); m != nil {
			c := start(n, m[2], m[3])
			c.result, c.end = -1, 1<<30 // until it is resumed
			open[m[1]] = len(calls)
			calls = append(calls, c)
		} else if m := traceResumed.FindStringSubmatch(line); m != nil {
			if i, ok := open[m[1]]; ok {
				calls[i].end = n
				calls[i].result, _ = strconv.Atoi(m[3])
				delete(open, m[1])
			}
		}
	}
	return calls
}

// unhex reads the \xHH of strace -xx.
func unhex(text string) string {
	if !strings.Contains(text, `\x`) {
		return text
	}
	b, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		return text
	}
	return string(b)
}

const wal = "ledger.db-wal"

// checkOrder proves from a trace that a certificate was durable before it
// left: its record was written to the issuance log and to the database's WAL,
// each was synced with success after that, and only then did the first byte of
// the answer go to the socket. Nothing else was sent there while the trace ran.
func checkOrder(calls []syscallOf, certificate *x509.Certificate) error {
	answer := slices.IndexFunc(calls, func(c syscallOf) bool {
		return strings.HasPrefix(c.file, "TCP") && (c.name == "write" || c.name == "sendto" || c.name == "writev")
	})
	if answer < 0 {
		return errors.New("no answer was sent")
	}
	record := []byte(base64.StdEncoding.EncodeToString(certificate.Raw))
	for _, place := range []struct {
		name, suffix string
		content      []byte
	}{
		{"issuance log", ".ndjson", record},
		{"WAL", wal, certificate.Signature},
	} {
		written := slices.IndexFunc(calls, func(c syscallOf) bool {
			return strings.HasPrefix(c.name, "pwrite") && strings.HasSuffix(c.file, place.suffix) && bytes.Contains(c.data, place.content)
		})
		if written < 0 {
			return fmt.Errorf("the certificate was not written to the %s", place.name)
		}
		// A transaction ends in the WAL with the frame whose header tells the
		// size of the database, and that frame's page.
		last := written
		if place.suffix == wal {
			for i, c := range calls[written-1:] {
				if c.file == calls[written].file && len(c.data) == 24 && !bytes.Equal(c.data[4:8], make([]byte, 4)) {
					last = written - 1 + i + 1
					break
				}
			}
			if last >= len(calls) || calls[last].file != calls[written].file || len(calls[last].data) != 4096 {
				return errors.New("the transaction has no end in the WAL")
			}
		}
		synced := slices.ContainsFunc(calls, func(c syscallOf) bool {
			return (c.name == "fsync" || c.name == "fdatasync") && c.file == calls[written].file &&
				c.begin > calls[last].end && c.result == 0 && c.end < calls[answer].begin
		})
		if !synced {
			return fmt.Errorf("the %s was not synced between the record and the answer", place.name)
		}
	}
	return nil
}

// TestTraceOrder traces the system calls of one enrollment.
func TestTraceOrder(t *testing.T) {
	dir := newState(t)
	server := startChild(t, dir)
	// One connection, warm, and HTTP/1.1, so that nothing but the answer is
	// sent while the trace runs.
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots(t, dir)},
		TLSNextProto:    map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
	template := server.client(t)
	send := func(method, op, body string) []byte {
		t.Helper()
		r, err := http.NewRequest(method, "https://"+server.est+"/.well-known/est/"+op, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth(template.User, template.Password)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != 200 || answer.ProtoMajor != 1 {
			t.Fatalf("%s: %s %s, %v", op, answer.Status, content, err)
		}
		return content
	}
	send("GET", "cacerts", "")

	path := filepath.Join(t.TempDir(), "trace")
	detach := server.strace(t, "-tt", "-yy", "-xx", "-s", "100000", "-o", path,
		"-e", "trace=write,pwrite64,fdatasync,fsync,sendto,writev")
	der, err := base64.StdEncoding.DecodeString(string(send("POST", "simpleenroll", base64.StdEncoding.EncodeToString(newDevice(t, "traced").csr))))
	if err != nil {
		t.Fatal(err)
	}
	send("GET", "cacerts", "") // the answer's own write has ended, too
	detach()
	certificates, err := cms.ParseCertsOnly(der)
	if err != nil || len(certificates) != 1 {
		t.Fatalf("%d certificates, %v", len(certificates), err)
	}
	calls := parseTrace(string(pkitest.ReadFile(t, path)))
	if err := checkOrder(calls, certificates[0]); err != nil {
		t.Errorf("%v, in\n%s", err, summary(calls))
	}

	// The check itself: the same calls in the wrong order, without a sync, or
	// with one that failed must not pass.
	answer := slices.IndexFunc(calls, func(c syscallOf) bool { return strings.HasPrefix(c.file, "TCP") })
	isSync := func(suffix string) func(syscallOf) bool {
		return func(c syscallOf) bool {
			return (c.name == "fsync" || c.name == "fdatasync") && strings.HasSuffix(c.file, suffix)
		}
	}
	for _, suffix := range []string{".ndjson", wal} {
		for name, change := range map[string]func(calls []syscallOf) []syscallOf{
			"no sync": func(calls []syscallOf) []syscallOf { return slices.DeleteFunc(calls, isSync(suffix)) },
			"failed sync": func(calls []syscallOf) []syscallOf {
				for i := range calls {
					if isSync(suffix)(calls[i]) {
						calls[i].result = -1
					}
				}
				return calls
			},
			"sync ends after the answer began": func(calls []syscallOf) []syscallOf {
				for i := range calls {
					if isSync(suffix)(calls[i]) {
						calls[i].end = max(calls[i].end, calls[answer].begin+1)
					}
				}
				return calls
			},
			"record after the sync": func(calls []syscallOf) []syscallOf {
				for i := range calls {
					if strings.HasPrefix(calls[i].name, "pwrite") && strings.HasSuffix(calls[i].file, suffix) {
						calls[i].begin, calls[i].end = calls[answer].begin-1, calls[answer].begin-1
					}
				}
				return calls
			},
		} {
			if checkOrder(change(slices.Clone(calls)), certificates[0]) == nil {
				t.Errorf("%s of %s: passes the check", name, suffix)
			}
		}
	}
	moved := slices.Clone(calls)
	moved[answer].begin = -1
	if checkOrder(moved, certificates[0]) == nil {
		t.Error("answer before everything: passes the check")
	}
}

// summary is a trace for people.
func summary(calls []syscallOf) string {
	var b strings.Builder
	for _, c := range calls {
		fmt.Fprintf(&b, "%4d-%d %s(%s, %d bytes) = %d\n", c.begin, c.end, c.name, c.file, len(c.data), c.result)
	}
	return b.String()
}
