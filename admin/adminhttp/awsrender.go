package adminhttp

import (
	"net/http"

	"mintmark/admin"
	"mintmark/awsreg/render"
)

// renderAWS answers the stacks and documents of a target.
func (h *handler) renderAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	code := render.Code{Bucket: query.Get("bucket"), Key: query.Get("key"), Architecture: query.Get("architecture")}
	files, err := h.AWS.Render(name, code)
	if err != nil {
		return fail(http.StatusBadRequest, "aws-render", "%v", err)
	}
	out := admin.AWSFiles{Files: []admin.AWSFile{}}
	for _, f := range files {
		out.Files = append(out.Files, admin.AWSFile{Name: f.Name, Content: string(f.Content), Script: f.Script})
	}
	return writeJSON(w, http.StatusOK, out)
}
