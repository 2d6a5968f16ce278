package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"mintmark/internal/audit/heads"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger/sqldb"
)

// The record: where the ledger is, and where the heads of the issuance log are
// kept.

const (
	headsDir = "heads"             // signed heads, in the state directory
	auditKey = "secrets/audit-key" // signs them
)

// database says where the ledger is.
func (s *Server) database() sqldb.Config {
	c := databaseOf(s.config)
	c.Log, c.Migrate, c.Logger = s.issuance, true, s.log
	return c
}

// LedgerExists reports whether there is a ledger; one in PostgreSQL is taken to be
// there.
func LedgerExists(c *config.Config) bool {
	database := databaseOf(c)
	if database.Path == "" {
		return true
	}
	_, err := os.Lstat(database.Path)
	return !errors.Is(err, fs.ErrNotExist)
}

func databaseOf(c *config.Config) sqldb.Config {
	if c.Database.URL == "" {
		return sqldb.Config{Path: filepath.Join(c.Dir, "ledger.db"), Server: c.Server}
	}
	database := sqldb.Config{URL: c.Database.URL, MaxConnections: c.Database.MaxConnections, Server: c.Server}
	if file := c.Database.PasswordFile; file != "" {
		database.Password = func() (string, error) { return secretText(c.Path(file)) }
	}
	return database
}

var errInUse = errors.New("the database holds a hierarchy already: init makes a new one; docs/scale.md says how another server joins")

// inUse reports whether init must not make a hierarchy. It asks before anything
// of this server is in the database: a name that is there with a log cannot be
// used again without it.
func inUse(ctx context.Context, c *config.Config) (bool, error) {
	if c.Database.URL == "" {
		return false, nil // a new file
	}
	return sqldb.Used(ctx, databaseOf(c))
}

// headExporter makes what signs heads and takes them to the configured places.
func (s *Server) headExporter(ctx context.Context) (*heads.Exporter, error) {
	key, err := heads.OpenKey(filepath.Join(s.config.Dir, auditKey), s.config.Server)
	if err != nil {
		return nil, err
	}
	var targets []heads.Target
	for i, c := range s.config.Audit.Heads {
		target, err := s.headTarget(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("%s: audit.heads[%d]: %w", filepath.Join(s.config.Dir, config.File), i, err)
		}
		targets = append(targets, target)
	}
	return heads.New(heads.Config{
		Log: s.issuance, Dir: filepath.Join(s.config.Dir, headsDir), Key: key, Targets: targets,
		Interval: s.config.Audit.Interval, Now: s.ra.Now, Logger: s.log,
	})
}

func (s *Server) headTarget(ctx context.Context, c config.HeadTarget) (heads.Target, error) {
	switch {
	case c.Folder != "":
		return heads.Folder(s.config.Path(c.Folder)), nil
	case c.S3 != nil:
		account, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.S3.Region), awsconfig.WithSharedConfigProfile(c.S3.Profile))
		if err != nil {
			return nil, fmt.Errorf("s3: %w", err)
		}
		return heads.S3(heads.S3Config{AWS: account, Bucket: c.S3.Bucket, Prefix: c.S3.Prefix, Endpoint: c.S3.Endpoint})
	default:
		token := ""
		if c.HTTP.TokenFile != "" {
			var err error
			if token, err = secretText(s.config.Path(c.HTTP.TokenFile)); err != nil {
				return nil, fmt.Errorf("http.token_file: %w", err)
			}
		}
		return heads.HTTP(c.HTTP.URL, token)
	}
}

// secretText reads a secret that is text, with the checks of every secret file.
func secretText(path string) (string, error) {
	secret, err := keystore.PassphraseFile(path)()
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(secret)), nil
}
