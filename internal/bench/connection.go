package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"

	"mintmark/internal/cms"
)

// connection speaks HTTP/1.1 with as little of its own as possible, because it
// shares the machine with what it measures.
type connection struct {
	*tls.Conn
	in *bufio.Reader
}

func (f *fleet) dial(ctx context.Context, config *tls.Config) (*connection, error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, err
	}
	return &connection{conn.(*tls.Conn), bufio.NewReader(conn)}, nil
}

func (f *fleet) post(c *connection, body []byte, authorization string, keepAlive bool) ([]byte, error) {
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: %d\r\n", f.path, len(body))
	if authorization != "" {
		head.WriteString("Authorization: " + authorization + "\r\n")
	}
	if !keepAlive {
		head.WriteString("Connection: close\r\n")
	}
	head.WriteString("\r\n")
	if _, err := c.Write(append([]byte(head.String()), body...)); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s: %s", response.Status, answer)
	}
	return answer, nil
}

func decode(answer []byte) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(string(answer))
	if err != nil {
		return nil, err
	}
	certificates, err := cms.ParseCertsOnly(der)
	if err != nil {
		return nil, err
	}
	return certificates[0], nil
}
