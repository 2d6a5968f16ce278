package sqldb

import (
	"database/sql"
	"errors"
	"testing"

	"mintmark/internal/pgtest"
)

// Whatever asks or writes finds what was gathered before it, and what does not change one row is
// noticed.
func TestGatheredComesFirst(t *testing.T) {
	d, err := newDialect(Config{URL: pgtest.Start(t).NewDatabase(t), Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWriter(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	s := &tx{writer: w, gather: true}
	must := func(n int64, err error) int64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	must(s.exec(`CREATE TABLE gathered (n BIGINT)`))
	must(s.execOne(`INSERT INTO gathered (n) VALUES ($1)`, int64(1)))
	if n := must(s.exec(`UPDATE gathered SET n = 2 WHERE n = 1`)); n != 1 {
		t.Errorf("%d rows were changed", n)
	}
	must(s.execOne(`INSERT INTO gathered (n) VALUES ($1)`, int64(3)))
	var sum int64
	if err := s.query(`SELECT SUM(n) FROM gathered`, func(r *sql.Rows) error { return r.Scan(&sum) }); err != nil || sum != 5 {
		t.Errorf("the sum is %d, %v", sum, err)
	}
	for _, text := range []string{`UPDATE gathered SET n = n WHERE n = 7`, `UPDATE gathered SET n = n`} {
		must(s.execOne(`INSERT INTO gathered (n) VALUES (4)`))
		must(s.execOne(text))
		if err := s.flush(); !errors.Is(err, errApart) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
