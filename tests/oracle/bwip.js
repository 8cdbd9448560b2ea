// What bwip-js, a barcode writer with its own implementation of the GS1 rules, says of each line of standard input:
// {"elements": [[ai, value], ...]} or {"link": url}. One line of output each: "ok", or the name of its complaint.
'use strict';
const readline = require('readline');
const bwip = require(process.argv[2]);

// Everything that is no letter or digit as its decimal number, so that brackets within a value do not end it.
const escape = (value) =>
  value.replace(/[^A-Za-z0-9]/g, (c) => '^' + String(c.charCodeAt(0)).padStart(3, '0'));

const judge = (line) => {
  const { elements, link } = JSON.parse(line);
  try {
    if (link) bwip.raw('gs1dldatamatrix', link, {});
    else bwip.raw('gs1datamatrix', elements.map(([ai, v]) => `(${ai})${escape(v)}`).join(''), { parse: true });
    return 'ok';
  } catch (error) {
    return String(error.message || error).replace(/^bwipp\./, '').replace(/[#:].*/s, '');
  }
};

readline.createInterface({ input: process.stdin }).on('line', (line) => console.log(judge(line)));
