package adminhttp_test

import (
	"net/http"
	"testing"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
)

func TestAWSRender(t *testing.T) {
	w := open(t, func(config *adminhttp.Config) { config.AWS = &cloud{} })
	got, err := w.client.AWSRender(t.Context(), "line-a", admin.AWSCode{Bucket: "code"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != 1 || got.Files[0] != (admin.AWSFile{Name: "deploy.sh", Content: "line-acode", Script: true}) {
		t.Errorf("files %+v", got.Files)
	}
	_, err = w.client.AWSRender(t.Context(), "line-a", admin.AWSCode{})
	refused(t, err, http.StatusBadRequest, "aws-render")
	_, err = w.client.AWSRender(t.Context(), "nowhere", admin.AWSCode{Bucket: "code"})
	refused(t, err, http.StatusNotFound, "aws-target")
}
