// Work for node: worker threads, buffers, compression, streams of JSON.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { createHash } = require('crypto');
const zlib = require('zlib');

function work(seed) {
    const map = new Map();
    for (let n = 0; n < 60000; n++) {
        const key = `k${(n * seed) % 4001}`;
        map.set(key, (map.get(key) || '') + String.fromCharCode(97 + (n % 26)));
    }
    const text = JSON.stringify([...map].sort());
    const packed = zlib.deflateSync(Buffer.from(text.repeat(3)), { level: 6 });
    if (zlib.inflateSync(packed).toString().slice(0, text.length) !== text) throw new Error('inflate');
    const buffers = [];
    for (let n = 0; n < 300; n++) buffers.push(Buffer.alloc((n * 7919) % 200000, n));
    return createHash('sha256').update(text).update(Buffer.concat(buffers)).digest('hex');
}

if (isMainThread) {
    Promise.all([1, 2, 3, 4].map((seed) => new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: seed });
        worker.once('message', resolve).once('error', reject);
    }))).then((results) => {
        console.log(results.join('\n'));
        console.log(work(5));
    });
} else {
    parentPort.postMessage(work(workerData));
}
