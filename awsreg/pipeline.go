package awsreg

import "sync"

// inParallel calls work with 0 to count-1 from at most n goroutines, begun in this
// order, and returns when all are done.
func inParallel(n, count int, work func(i int)) {
	if n = min(n, count); n <= 1 {
		for i := range count {
			work(i)
		}
		return
	}
	queue := make(chan int)
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			for i := range queue {
				work(i)
			}
		})
	}
	for i := range count {
		queue <- i
	}
	close(queue)
	wait.Wait()
}
