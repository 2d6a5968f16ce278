package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"mintmark/internal/server"
)

// state makes a state directory whose ledger is empty: in a file, or in a database.
func (r *run) state(ctx context.Context, name, database string) (string, error) {
	dir := filepath.Join(r.dir, name)
	return dir, newState(ctx, dir, database)
}

func newState(ctx context.Context, dir, database string) error {
	quiet := slog.New(slog.DiscardHandler)
	o := server.InitOptions{Dir: dir, Names: []string{"localhost", "127.0.0.1"}, PublicURL: "http://ca.example.org:8080", Database: database}
	if err := server.Init(ctx, o, quiet, io.Discard); err != nil {
		return fmt.Errorf("making a state directory: %w", err)
	}
	return unlimited(dir)
}

// Where configuration that init writes is changed.
const (
	endOfLabel = "    own: [device]"
	noLimits   = "\n    limits: {identity: 0, address: 0}\n"
)

// unlimited makes the loopback a station and the labels ones without limits: the load comes
// from one address and few devices, as no line's does. There is a label for work orders
// beside the one that init makes, and OCSP is answered.
func unlimited(state string) error {
	path := filepath.Join(state, "mintmark.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, tail, found := strings.Cut(string(text), endOfLabel)
	if !found {
		return errors.New("the configuration that init writes has no label to change")
	}
	line := `  - name: line
    profile: device
    issuer: issuing
    authorize: order
` + endOfLabel + noLimits
	changed := head + endOfLabel + tail + noLimits + line + "\nlimits:\n  stations: [127.0.0.0/8]\n\nocsp: {enabled: true}\n"
	return os.WriteFile(path, []byte(changed), 0o600)
}
