package sqldb
import ("testing";"database/sql";"strings")
func TestZZ(t *testing.T){
	w, err := openWriter(t.Context(), t.TempDir()+"/ledger.db")
	if err != nil { t.Fatal(err) }
	defer w.close()
	if err := migrate(t.Context(), w.conn, true); err != nil { t.Fatal(err) }
	for _, q := range []string{sqlDropField,
	 `SELECT f.device FROM field_runs r JOIN device_fields f ON f.run = r.run WHERE f.value >= $1 AND f.value < $2 AND f.device > $3`,
	 `SELECT f.device FROM field_runs r CROSS JOIN device_fields f WHERE f.run = r.run AND f.value >= $1 AND f.value < $2 AND f.device > $3`,
	 `SELECT f.device FROM device_fields f WHERE f.run IN (SELECT run FROM field_runs) AND f.value >= $1 AND f.value < $2 AND f.device > $3`,
	}{
		var plan []string
		w.query("EXPLAIN QUERY PLAN "+q, func(rows *sql.Rows) error {
			var a,b,c int; var d string
			err := rows.Scan(&a,&b,&c,&d); plan = append(plan,d); return err
		},"a","b","c")
		t.Log(strings.Join(plan,"; "))
	}
}
