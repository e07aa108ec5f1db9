// A browser starts no worker from a file. Opened from a folder, the site runs its search in a hidden frame instead.
if (location.protocol === 'file:') window.Worker = class {
  constructor(url) {
    this.frame = document.createElement('iframe')
    this.frame.hidden = true
    document.body.append(this.frame)
    const { contentWindow: inside, contentDocument: page } = this.frame
    inside.postMessage = data => setTimeout(() => this.onmessage?.({ data }))
    this.ready = new Promise((loaded, failed) => {
      const script = page.createElement('script')
      script.src = new URL(url, location)
      script.onload = () => loaded(inside)
      script.onerror = failed
      page.head.append(script)
    })
    this.ready.catch(error => this.onerror?.(error))
  }
  postMessage(data) { this.ready.then(inside => inside.onmessage({ data })) }
  terminate() { this.frame.remove() }
}
