package audit
import ("testing";"mintmark/internal/ledger";"time")
func TestScratch(t *testing.T){
 for _, e := range []ledger.Event{
  {Kind: ledger.EventDevice, At: time.Now(), Device: &ledger.DeviceChange{Device:"d", State: ledger.Held, Note: "a\xffb"}},
  {Kind: ledger.EventIntent, At: time.Now(), Intent: &ledger.Intent{Subject:"a\xff", Serial:"01", NotAfter: time.Date(12000,1,1,0,0,0,0,time.UTC)}},
  {Kind: ledger.EventOrder, At: time.Now(), Order: &ledger.Order{ID:"x", NotAfter: time.Date(12000,1,1,0,0,0,0,time.UTC)}},
 }{
  dir := t.TempDir()
  l, err := Open(dir, Config{Server:"a"})
  if err != nil { t.Fatal(err) }
  _, err = l.Append([]ledger.Event{e})
  t.Log(err)
  _, err = Verify(dir)
  t.Log(err)
 }
}
