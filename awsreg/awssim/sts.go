package awssim

import (
	"encoding/xml"
	"net/http"
	"net/url"
)

// callerIdentity is the answer of GetCallerIdentity in the query protocol (AWS STS
// API reference).
type callerIdentity struct {
	XMLName   xml.Name     `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result    callerResult `xml:"GetCallerIdentityResult"`
	RequestID string       `xml:"ResponseMetadata>RequestId"`
}

type callerResult struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

// serveSTS answers GetCallerIdentity, the one STS operation here.
func (s *Sim) serveSTS(w http.ResponseWriter, c *call) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil || form.Get("Action") != "GetCallerIdentity" || form.Get("Version") != "2011-06-15" {
		e := noOperation("the STS action " + clip(form.Get("Action"), 64))
		e.writeQuery(w)
		return
	}
	s.perform(w, c, "GetCallerIdentity", func() (any, error) {
		return callerIdentity{
			Result: callerResult{
				ARN:    "arn:aws:iam::" + c.w.account.ID + ":user/simulated",
				UserID: c.w.account.AccessKeyID, Account: c.w.account.ID,
			},
			RequestID: w.Header().Get("x-amzn-RequestId"),
		}, nil
	}, func(v any, e *apiError) {
		if e != nil {
			e.writeQuery(w)
			return
		}
		writeXML(w, http.StatusOK, v)
	})
}
