package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
)

var shapePoints = []Point{
	{83, Interop, "measured: libest, BouncyCastle, globalsign", "a success says Content-Transfer-Encoding: base64", "looks at cacerts and, where there is one, at an issued certificate", saysBase64},
	{84, Interop, "measured: libest, strongSwan, BouncyCastle", "answers have a Content-Length, no chunks and no compression", "asks for cacerts with Accept-Encoding: gzip, and looks at simpleenroll", plainLength},
	{85, Interop, "measured: strongSwan, libest", "base64 in one line without a newline at the end; in short lines for libest", "looks at cacerts, with and without libest's User-Agent", oneLine},
	{86, Interop, "measured: strongSwan", "an answer comes in one write, without small TLS records", "looks at the sizes of TLS records: none but the last below 4 KB", bigRecords},
	{90, Interop, "measured: Azure IoT Edge, libest", "cacerts has exactly Content-Type application/pkcs7-mime, enrollment application/pkcs7-mime; smime-type=certs-only", "compares the strings", exactTypes},
}

// successes are the successful answers that are at hand: cacerts, and an
// enrollment if there was one.
func (p *probe) successes(ctx context.Context) (map[string]*answer, error) {
	a, err := p.askCACerts(ctx)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("cacerts answered %v", a)
	}
	found := map[string]*answer{"cacerts": a}
	if e, err := p.first(ctx); err == nil {
		found["simpleenroll"] = e.answer
	}
	return found, nil
}

func saysBase64(ctx context.Context, p *probe) Result {
	list, err := p.successes(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for op, a := range list {
		if value := a.get("Content-Transfer-Encoding"); !strings.EqualFold(value, "base64") {
			return fail("%s: Content-Transfer-Encoding is %q", op, value)
		}
	}
	return pass("%d answers", len(list))
}

func plainLength(ctx context.Context, p *probe) Result {
	list, err := p.successes(ctx)
	if err != nil {
		return fail("%v", err)
	}
	zipped, err := p.do(ctx, request{method: http.MethodGet, path: p.path("cacerts"), header: []string{"Accept-Encoding: gzip, deflate"}})
	if err != nil {
		return fail("%v", err)
	}
	list["cacerts with Accept-Encoding"] = zipped
	for op, a := range list {
		if a.chunked || !a.has("Content-Length") || a.has("Content-Encoding") {
			return fail("%s: Content-Length %q, Transfer-Encoding %q, Content-Encoding %q", op, a.get("Content-Length"), a.get("Transfer-Encoding"), a.get("Content-Encoding"))
		}
	}
	return pass("%d answers", len(list))
}

func oneLine(ctx context.Context, p *probe) Result {
	list, err := p.successes(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for op, a := range list {
		if i := bytes.IndexAny(a.body, "\r\n\t "); i >= 0 {
			return fail("%s: white space at byte %d of %d", op, i, len(a.body))
		}
	}
	a, err := p.do(ctx, request{method: http.MethodGet, path: p.path("cacerts"), agent: "libest 1.0"})
	if err != nil {
		return fail("%v", err)
	}
	for line := range bytes.Lines(a.body) {
		if len(bytes.TrimRight(line, "\r\n")) > 76 {
			return fail("a line of %d bytes for libest", len(line))
		}
	}
	return pass("one line, and lines of at most 76 for libest")
}

// smallRecord is below what a server writes at once; the framing of a record is
// not more than 64 bytes.
const smallRecord = 4096

func bigRecords(ctx context.Context, p *probe) Result {
	// In TLS 1.2 the type of a record tells application data from handshake messages.
	a, err := p.do(ctx, request{method: http.MethodGet, path: p.path("cacerts"), edit: only(tls.VersionTLS12)})
	if err != nil {
		return fail("%v", err)
	}
	for i, size := range a.records[:max(0, len(a.records)-1)] {
		if size < smallRecord {
			return fail("record %d of %d has %d bytes: %v", i+1, len(a.records), size, a.records[:min(len(a.records), 20)])
		}
	}
	return pass("records of %v bytes", a.records)
}

func exactTypes(ctx context.Context, p *probe) Result {
	list, err := p.successes(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for op, a := range list {
		want := map[string]string{"cacerts": "application/pkcs7-mime", "simpleenroll": "application/pkcs7-mime; smime-type=certs-only"}[op]
		if a.get("Content-Type") != want {
			return fail("%s: Content-Type %q, not %q", op, a.get("Content-Type"), want)
		}
	}
	return pass("%d answers", len(list))
}
