package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"
)

// How long a server waits for the database. A host that has died, a network
// that swallows packets and a peer that holds a lock and does nothing all
// become errors within these times; the URL may set others for the first four.
const (
	connectTimeout   = 10 * time.Second
	lockTimeout      = 10 * time.Second // for one lock that a peer holds
	idleTimeout      = 20 * time.Second // of a transaction whose server says nothing: it is ended
	statementTimeout = 30 * time.Second
	peerTimeout      = 20 * time.Second // until TCP gives up a peer that acknowledges nothing
)

// MaxConnections and Patience if they are not set.
const (
	defaultConnections = 8
	defaultPatience    = 60 * time.Second
)

// pg opens connections to one PostgreSQL database, or to one that speaks like
// it.
type pg struct {
	config   *pgx.ConnConfig
	password func() (string, error)
	most     int
	where    string // for errors: never with a password
}

func parsePostgres(cfg Config) (*pg, error) {
	if cfg.Server == "" {
		return nil, errors.New("a database that servers share needs the name of this server")
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		// Without the value: it may hold a password.
		return nil, errors.New("URL of the database must look like postgres://user@host/database?sslmode=verify-full")
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		return nil, errors.New("URL of the database holds a password: it has a place of its own")
	}
	p := &pg{password: cfg.Password, most: cfg.MaxConnections}
	if p.config, err = pgx.ParseConfig(cfg.URL); err != nil {
		return nil, fmt.Errorf("reading URL of the database: %w", err)
	}
	if p.most == 0 {
		p.most = defaultConnections
	}
	if p.most < 2 {
		return nil, fmt.Errorf("%d connections to the database are too few: one writes, one or more read", p.most)
	}
	p.where = fmt.Sprintf("database %q on %s", p.config.Database, net.JoinHostPort(p.config.Host, strconv.Itoa(int(p.config.Port))))
	if p.config.ConnectTimeout == 0 {
		p.config.ConnectTimeout = connectTimeout
	}
	for name, limit := range map[string]time.Duration{
		"lock_timeout": lockTimeout, "idle_in_transaction_session_timeout": idleTimeout, "statement_timeout": statementTimeout,
	} {
		if _, has := p.config.RuntimeParams[name]; !has {
			p.config.RuntimeParams[name] = strconv.FormatInt(limit.Milliseconds(), 10)
		}
	}
	if p.config.RuntimeParams["application_name"] == "" {
		p.config.RuntimeParams["application_name"] = "mintmark " + cfg.Server
	}
	dialer := net.Dialer{
		Timeout:         p.config.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         giveUpPeer,
	}
	p.config.DialFunc = dialer.DialContext
	return p, nil
}

// giveUpPeer bounds how long a connection waits for an acknowledgement. Without
// it a request that was on its way to a host that died waits a quarter of an
// hour: keepalives are not sent while data is unacknowledged.
func giveUpPeer(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(peerTimeout.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}

// open prepares at most the given number of connections with more settings.
// The password is asked for at each connection: it may have been changed.
func (p *pg) open(most int, settings map[string]string) *sql.DB {
	config := p.config.Copy()
	for name, value := range settings {
		config.RuntimeParams[name] = value
	}
	db := sql.OpenDB(connector{p, stdlib.GetConnector(*config, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
		if p.password == nil {
			return nil
		}
		var err error
		c.Password, err = p.password()
		return err
	}))})
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db
}

// A connector says in its errors which database could not be reached.
type connector struct {
	pg *pg
	driver.Connector
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", c.pg.where, err)
	}
	return conn, nil
}
