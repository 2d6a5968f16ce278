package awssim

func (w *world) findBulk(id string) (*bulkTask, error) {
	if t, ok := w.domain.bulk[id]; ok {
		return t, nil
	}
	return nil, notFound("The task %s does not exist", clip(id, 40))
}

func describeBulk(c *call) (any, error) {
	t, err := c.w.findBulk(c.path["taskId"])
	if err != nil {
		return nil, err
	}
	out := map[string]any{
		"taskId": t.id, "creationDate": epoch(t.created), "lastModifiedDate": epoch(t.modified), "templateBody": t.body,
		"inputFileBucket": t.bucket, "inputFileKey": t.key, "roleArn": t.roleARN, "status": t.status,
		"successCount": t.success, "failureCount": t.failure, "percentageProgress": t.percent,
	}
	if t.message != "" {
		out["message"] = t.message
	}
	return out, nil
}

func listBulk(c *call) (any, error) {
	status := c.query.Get("status")
	switch status {
	case "", bulkRunning, bulkDone, bulkFailed, bulkCancelled, bulkCancelling:
	default:
		return nil, invalid("status %q does not exist", clip(status, 64))
	}
	seq := func(t *bulkTask) int64 { return t.seq }
	var list []*bulkTask
	for _, t := range sorted(c.w.domain.bulk, seq) {
		if status == "" || t.status == status {
			list = append(list, t)
		}
	}
	page, token, err := paginate(c, list, seq, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, t := range page {
		out = append(out, t.id)
	}
	return withMarker(map[string]any{"taskIds": out}, "nextToken", token), nil
}

// listBulkReports links to the reports of a task that has ended. AWS links to
// signed addresses in S3, the simulator to its own port.
func listBulkReports(c *call) (any, error) {
	kind := c.query.Get("reportType")
	if kind != "ERRORS" && kind != "RESULTS" {
		return nil, invalid("reportType must be ERRORS or RESULTS, not %q", clip(kind, 64))
	}
	t, ok := c.w.domain.bulk[c.path["taskId"]]
	if !ok {
		// The operation models no ResourceNotFoundException.
		return nil, invalid("The task %s does not exist", clip(c.path["taskId"], 40))
	}
	file, size := "errors.json", t.errors.Len()
	if kind == "RESULTS" {
		file, size = "results.json", t.results.Len()
	}
	links := []string{}
	if t.ended() && size > 0 {
		links = append(links, c.w.sim.ControlURL()+"/_sim/reports/"+c.w.account.ID+"/"+c.w.region+"/"+t.id+"/"+file+"?key="+t.reportKey)
	}
	return map[string]any{"reportType": kind, "resourceLinks": links}, nil
}

// stopBulk has the task end after the line under way. What was registered stays.
func stopBulk(c *call) (any, error) {
	t, err := c.w.findBulk(c.path["taskId"])
	if err != nil {
		return nil, err
	}
	if t.ended() {
		return nil, invalid("The task %s is %s", t.id, t.status)
	}
	t.status = bulkCancelling
	return nil, nil
}
